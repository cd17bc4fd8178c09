// What decision functions find besides the language itself. It runs once, when the engine is built.
((log) => {
  const { stringify } = JSON;
  const text = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return `${value}`;
    try {
      return stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  };
  const logger =
    (level) =>
    (...values) =>
      log(level, values.map(text).join(" "));
  // The numbers are those of the host's import: 0 error, 1 info.
  const [error, info] = [logger(0), logger(1)];
  globalThis.console = { error, warn: info, info, log: info, debug: info };
});
