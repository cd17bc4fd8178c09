/* A clock that a test sets: the seconds that stand in the file CLOCK_OFFSET are added to the time of day. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
offset(void)
{
	static const char *text;

	/* All processes of a server see at once what is written there. */
	if (text == NULL)
	{
		int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);

		text = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
		if (text == MAP_FAILED)
			abort();
		close(file);
	}
	return strtol(text, NULL, 10);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real) (clockid_t, struct timespec *);
	int result;

	if (real == NULL)
		real = (int (*) (clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (result == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += offset();
	return result;
}

int
gettimeofday(struct timeval *now, void *zone)
{
	struct timespec precise;
	int result = clock_gettime(CLOCK_REALTIME, &precise);

	(void) zone;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
