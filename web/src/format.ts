// Times and sizes as people read them: local, with the zone named; UTC where it is exact.

export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value: number): string => String(value).padStart(2, "0");
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  const clock = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days > 0 ? `${days}d ${two(hours)}:${clock}` : `${hours}:${clock}`;
}

const UNITS = { en: ["s", "min", "h"], zh: ["秒", "分钟", "小时"] } as const;

/** A span in its largest unit, as people say it. */
export function span(seconds: number, language: keyof typeof UNITS = "en"): string {
  const [second, minute, hour] = UNITS[language];
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} ${second}`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} ${minute}`;
  return `${Math.floor(seconds / 3600)} ${hour}`;
}

export function delayText(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

export function bytes(count: number | null): string {
  if (count === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

/** A time as this machine's clock had it, with the largest unit first: it reads alike everywhere, and sorts. */
export function local(time: string): string {
  const at = new Date(time);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}

/** The same, without the day where that is today's. */
export function brief(time: string, now: number): string {
  const [text, today] = [local(time), local(new Date(now).toISOString())];
  return text.slice(0, 10) === today.slice(0, 10) ? text.slice(11) : text.slice(5);
}

export function utc(time: string): string {
  return `${new Date(time).toISOString().replace("T", " ").slice(0, 19)} UTC`;
}

export function zone(language: string): string {
  const parts = new Intl.DateTimeFormat(language, { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}
