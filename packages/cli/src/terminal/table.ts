/** Tables and amounts for people: aligned, no colour, nothing to parse (`-o json` is for programs). */

/** Rows of text under a header, columns two blanks apart. Numbers (cells that look like one) are right-aligned. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, at) =>
    Math.max(title.length, ...rows.map((row) => (row[at] ?? "").length)),
  );
  const isNumeric = header.map(
    (_, at) => rows.length > 0 && rows.every((row) => /^[\d.,%-]*$/.test(row[at] ?? "")),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => (isNumeric[at]! ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
      .join("  ")
      .trimEnd();
  return `${[header, ...rows].map(line).join("\n")}\n`;
}

/** `name  value` lines, values aligned; empty values are left out. */
export function fields(pairs: readonly (readonly [string, string])[]): string {
  const shown = pairs.filter(([, value]) => value !== "");
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}

/** 12,328. */
export const countText = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",");

export function bytesText(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

/** 350 ms, 4.2 s, 3 min 5 s, 2 h 4 min, 3 d 1 h. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1_440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const agoText = (at: number, now: number): string =>
  at === 0 ? "" : `${durationText(Math.max(0, now - at))} ago`;
