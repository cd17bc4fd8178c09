//! What functions are told about the session.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

use ::decision::context::{Session, User};
use pgrx::pg_sys;
use policy::attribute;

use crate::catalog::Catalog;
use crate::catalog::subject::Subject;
use crate::pg::{leaf, nodes};
use crate::settings;

/// Microseconds between 1970 and 2000, which PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;

/// What can change about a session while the subject stays the same. Functions are asked again when it does.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    minute: i64,
    application_name: Vec<u8>,
    read_only: bool,
}

impl Fingerprint {
    /// That of now.
    pub(crate) fn now() -> Self {
        Fingerprint {
            minute: now().div_euclid(60_000_000),
            application_name: application_name().to_bytes().to_vec(),
            read_only: read_only(),
        }
    }

    /// Whether it still holds. Calls nothing that can raise an error.
    pub(crate) fn holds(&self) -> bool {
        self.minute == now().div_euclid(60_000_000)
            && self.read_only == read_only()
            && self.application_name == application_name().to_bytes()
    }
}

/// The time of the client's statement in microseconds since 1970, or the one that an administrator tries.
pub(crate) fn now() -> i64 {
    leaf::GetCurrentStatementStartTimestamp() + EPOCH + i64::from(settings::DECISION_CLOCK_OFFSET.get()) * 1_000_000
}

fn application_name() -> &'static CStr {
    // SAFETY: the setting's variable holds a NUL-terminated string; it is copied or compared before anything else runs.
    unsafe {
        if pg_sys::application_name.is_null() {
            c""
        } else {
            CStr::from_ptr(pg_sys::application_name)
        }
    }
}

fn read_only() -> bool {
    // SAFETY: reads a variable.
    unsafe { pg_sys::XactReadOnly }
}

/// Everything about the session.
pub(crate) fn facts(catalog: &Catalog, subject: &Subject) -> Session {
    let mut roles: Vec<String> = subject
        .roles
        .iter()
        .filter_map(|id| catalog.roles.name(*id))
        .map(str::to_owned)
        .collect();
    roles.sort();
    let attributes = catalog
        .attributes
        .iter()
        .map(|(key, definition)| {
            let value = attribute::resolve(definition, subject.attributes.get(key));
            // A value that is required and missing, or that does not suit its definition, is none.
            (
                key.clone(),
                value.map_or(serde_json::Value::Null, |value| value.to_json()),
            )
        })
        .collect();
    let name = application_name().to_string_lossy().into_owned();
    Session {
        user: User {
            id: subject
                .user
                .map(|id| pgrx::Uuid::from_bytes(id.to_be_bytes()).to_string()),
            username: subject.name.clone(),
            roles,
            attributes,
        },
        now: now(),
        datasource: database(),
        access_mode: catalog.access_mode.as_str(),
        application_name: (!name.is_empty()).then_some(name),
        client_address: client_address(),
        read_only: read_only(),
    }
}

fn database() -> String {
    // SAFETY: a catalog lookup; the string is copied.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() {
            String::new()
        } else {
            nodes::string(name)
        }
    }
}

thread_local! {
    static CLIENT: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// The numeric address of the client; none over a Unix socket and in processes without a client.
fn client_address() -> Option<String> {
    if let Some(known) = CLIENT.with_borrow(Clone::clone) {
        return known;
    }
    // SAFETY: the address is in this backend's entry of the table of activities, or in a copy of the leader's that this
    // worker works for.
    let address = unsafe {
        let address = if pg_sys::ParallelWorkerNumber >= 0 {
            address_of_leader()
        } else if pg_sys::MyBEEntry.is_null() {
            std::ptr::null_mut()
        } else {
            &raw mut (*pg_sys::MyBEEntry).st_clientaddr
        };
        if address.is_null() { None } else { numeric(address) }
    };
    CLIENT.set(Some(address.clone()));
    address
}

/// The address as text, as `inet_client_addr()` shows it.
unsafe fn numeric(address: *mut pg_sys::SockAddr) -> Option<String> {
    // The families with numbers for addresses; any other is a socket of this machine.
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    if ![AF_INET, AF_INET6].contains(&(*address).addr.ss_family) {
        return None;
    }
    let mut host = [0 as c_char; 256];
    // NI_NUMERICHOST and NI_NUMERICSERV of <netdb.h>.
    let failed = getnameinfo(
        (&raw const (*address).addr).cast(),
        (*address).salen,
        host.as_mut_ptr(),
        host.len() as u32,
        std::ptr::null_mut(),
        0,
        1 | 2,
    );
    let text = CStr::from_ptr(host.as_ptr()).to_string_lossy();
    // A link-local IPv6 address comes with its zone.
    (failed == 0).then(|| text.split('%').next().unwrap_or_default().to_owned())
}

/// The address of the client that a parallel worker works for, which only the leader's process is connected to.
unsafe fn address_of_leader() -> *mut pg_sys::SockAddr {
    let leader = (*pg_sys::MyProc).lockGroupLeader;
    if leader.is_null() {
        return std::ptr::null_mut();
    }
    let found = (1..=pg_sys::pgstat_fetch_stat_numbackends())
        .map(|index| entry(index))
        .find(|entry| !entry.is_null() && (**entry).st_procpid == (*leader).pid);
    found.map_or(std::ptr::null_mut(), |entry| &raw mut (*entry).st_clientaddr)
}

#[cfg(feature = "pg15")]
unsafe fn entry(index: i32) -> *mut pg_sys::PgBackendStatus {
    local(pg_sys::pgstat_fetch_stat_local_beentry(index))
}

#[cfg(not(feature = "pg15"))]
unsafe fn entry(index: i32) -> *mut pg_sys::PgBackendStatus {
    local(pg_sys::pgstat_get_local_beentry_by_index(index))
}

unsafe fn local(entry: *mut pg_sys::LocalPgBackendStatus) -> *mut pg_sys::PgBackendStatus {
    if entry.is_null() {
        std::ptr::null_mut()
    } else {
        &raw mut (*entry).backendStatus
    }
}

unsafe extern "C" {
    /// POSIX.
    fn getnameinfo(
        address: *const std::ffi::c_void,
        length: u32,
        host: *mut c_char,
        host_length: u32,
        service: *mut c_char,
        service_length: u32,
        flags: i32,
    ) -> i32;
}
