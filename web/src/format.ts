// Times, durations and sizes as text.

const twoDigits = (value: number): string => String(value).padStart(2, "0");

/** Returns a duration like `1:02:03` or `4d 01:02:03`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  const clock = `${twoDigits(Math.floor(seconds / 60) % 60)}:${twoDigits(seconds % 60)}`;
  return days > 0 ? `${days}d ${twoDigits(hours)}:${clock}` : `${hours}:${clock}`;
}

const UNIT_LABELS = { en: ["s", "min", "h"], zh: ["秒", "分钟", "小时"] } as const;

/** Returns a duration in its largest unit, like `5 min`. */
export function formatCoarseDuration(seconds: number, language: keyof typeof UNIT_LABELS = "en"): string {
  const [second, minute, hour] = UNIT_LABELS[language];
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} ${second}`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} ${minute}`;
  return `${Math.floor(seconds / 3600)} ${hour}`;
}

/** Returns a delay like `12 ms` or `1.5 s`. */
export function formatDelay(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Returns a size in binary units, like `1.5 KiB`; `missing` stands for null. */
export function formatBytes(count: number | null, missing = "–"): string {
  if (count === null) return missing;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

/** Returns a time in the browser's time zone, like `2026-01-02 03:04:05`. */
export function formatLocalTime(time: string | number): string {
  const at = new Date(time);
  const day = [at.getFullYear(), twoDigits(at.getMonth() + 1), twoDigits(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":")}`;
}

/** Returns a local time without the year, and without the date if the time is on the same day as `now`. */
export function formatShortTime(time: string, now: number): string {
  const [text, today] = [formatLocalTime(time), formatLocalTime(now)];
  return text.slice(0, 10) === today.slice(0, 10) ? text.slice(11) : text.slice(5);
}

/** Returns a time like `2026-01-02 03:04:05 UTC`. */
export function formatUtcTime(time: string): string {
  return `${new Date(time).toISOString().replace("T", " ").slice(0, 19)} UTC`;
}

/** Returns the short name of the browser's time zone. */
export function timeZoneName(language: string): string {
  const parts = new Intl.DateTimeFormat(language, { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}
