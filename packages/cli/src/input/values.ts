/** Values of flags: ranges, durations, counts. Each refusal says what was given and what would do. */
import { seedOfDigits, seedOfInteger } from "@everycore/client/internal";
import { EverycoreError, limits } from "@everycore/protocol";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** 500ms, 30s, 5m, 2h, 1d; a bare number is seconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?$/.exec(text.trim());
  const ms = match === null ? Number.NaN : Number(match[1]) * unitMs[match[2] ?? "s"]!;
  if (Number.isFinite(ms) && ms >= 0 && ms <= 3_650 * 86_400_000) return Math.round(ms);
  throw new EverycoreError("bad-input", `"${text}" is not a duration`, {
    hint: "write a number with a unit: 500ms, 30s, 5m, 2h, 1d",
  });
}

const unitBytes: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** 500M, 2G; a bare number is bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT])?i?B?$/i.exec(text.trim());
  const bytes =
    match === null ? Number.NaN : Number(match[1]) * (unitBytes[match[2]?.toUpperCase() ?? ""] ?? 1);
  if (Number.isFinite(bytes) && bytes >= 1) return Math.round(bytes);
  throw new EverycoreError("bad-input", `"${text}" is not a size`, {
    hint: "write a number with a unit: 500M, 2G",
  });
}

export interface ItemRange {
  readonly start: number;
  readonly items: number;
}

/** A-B, both ends included; negative numbers may be written. */
export function parseRange(text: string): ItemRange {
  const match = /^(-?\d+)-(-?\d+)$/.exec(text.trim());
  const [start, last] = match === null ? [Number.NaN, Number.NaN] : [Number(match[1]), Number(match[2])];
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(last)) {
    throw new EverycoreError("bad-input", `"${text}" is not a range of integers`, {
      hint: "write FIRST-LAST, both included: 0-999",
    });
  }
  if (last < start) {
    throw new EverycoreError("bad-input", `the range ${text} runs backwards`, {
      hint: `did you mean ${last}-${start}?`,
    });
  }
  const items = last - start + 1;
  if (items > limits.jobItemsMax)
    throw new EverycoreError(
      "over-limit",
      `the range ${text} has ${items} items; a job may have ${limits.jobItemsMax}`,
    );
  return { start, items };
}

/** A whole number of [min, max]. */
export function parseCount(flag: string, options: { min: number; max: number }): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= options.min && value <= options.max) return value;
    throw new EverycoreError(
      "bad-input",
      `${flag} is "${text}", not a whole number from ${options.min} to ${options.max}`,
    );
  };
}

/** A seed: any integer, or 16 hex digits; as 16 hex digits. */
export function parseSeed(text: string): string {
  const seed = seedOfDigits(text) ?? (/^\d{1,20}$/.test(text) ? seedOfInteger(BigInt(text)) : undefined);
  if (seed !== undefined) return seed;
  throw new EverycoreError("bad-input", `"${text}" is not a seed`, {
    hint: "write an integer from 0 to 2^64-1, or 16 hex digits",
  });
}

/** A version of Python, X.Y: patch versions run the same code, so that none is asked for. */
export function parsePythonVersion(text: string): string {
  const match = /^(?:python)?(3\.\d{1,3})(\.\d+)?$/.exec(text.trim());
  if (match !== null && match[2] === undefined) return match[1]!;
  throw new EverycoreError("bad-input", `"${text}" is not a version of Python`, {
    hint: match === null ? "write it as 3.11" : `leave its last number away: ${match[1]}`,
  });
}

/** [HOST:]PORT to listen on; port 0 lets the machine choose. */
export function parseListen(text: string): string {
  const match = /^(?:(\[[0-9a-fA-F:]+\]|[^\s:/]+):)?(\d{1,5})$/.exec(text.trim());
  if (match !== null && Number(match[2]) <= 65_535) return `${match[1] ?? "127.0.0.1"}:${match[2]}`;
  throw new EverycoreError("bad-input", `"${text}" is not an address to listen on`, {
    hint: "write HOST:PORT, such as 127.0.0.1:7070",
  });
}

/** Odd, so that more than half of them is a majority, and never more than NATS keeps. */
export function parseReplicas(text: string): number {
  if (["1", "3", "5"].includes(text.trim())) return Number(text);
  throw new EverycoreError("bad-input", `"${text}" is no number of replicas`, { hint: "write 1, 3 or 5" });
}

/** URLs of the servers of one NATS cluster, with commas between; given again, more of them. */
export function parseNatsUrls(text: string, before?: string): string {
  const urls = text.split(",").map((url) => url.trim());
  for (const url of urls) {
    if (/^(?:(?:nats|tls):\/\/)?[^\s/]+$/.test(url)) continue;
    throw new EverycoreError("bad-input", `"${url}" is not the URL of a NATS server`, {
      hint: "write nats://HOST:4222, several with commas between",
    });
  }
  return [...(before === undefined ? [] : [before]), ...urls].join(",");
}

export const isLoopback = (address: string): boolean =>
  /^(localhost|127(\.\d+){3}|\[::1\]):\d+$/.test(address);
