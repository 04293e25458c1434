/** What a caller may say about a job, and the specification that comes of it. */
import { basename } from "node:path";
import { EverycoreError, limits, times } from "@everycore/protocol";
import type { FailureLimit, JobSpec } from "@everycore/protocol";
import { codeFields } from "./bundle/task.ts";
import { ItemRange } from "./items.ts";
import type { Items } from "./items.ts";
import { newSeed, seedOfDigits, seedOfInteger } from "./seed.ts";
import type { LoadedTask } from "./task-module.ts";

export interface JobOptions {
  /** Tries after the first for items that throw or time out. Default 0, at most 1,000. */
  readonly retries?: number;
  /**
   * Wait before an item that failed is tried again, ms: doubled with each try, up to a minute, and by chance up to half
   * of it less; 0: none. Default: the first retry at once, the second after 250 ms.
   */
  readonly retryDelayMs?: number;
  /** An item that runs longer is killed, ms. Default: no limit. */
  readonly itemTimeoutMs?: number;
  /**
   * Seed of the items' random numbers (`ctx.random()`): a whole number from 0 to 2^64 - 1, or 16 hex digits. The same
   * seed gives the same numbers on any machine. Default: another one for each job.
   */
  readonly seed?: number | bigint | string;
  /** Name of the job, for people. Default: the task's file and function. At most 200 characters. */
  readonly name?: string;
  /** Higher goes first, -1,000 to 1,000. Default 0. */
  readonly priority?: number;
  /** The job and its results are deleted so long after its end, ms; 0 keeps them. Default 24 hours. */
  readonly ttlMs?: number;
  /**
   * So many items may fail, or such a share of all of them (`"10%"`, judged once the input is complete); one more ends
   * the job as failed, and cancels the rest. Default: no limit.
   */
  readonly maxFailures?: number | `${number}%`;
  /** The job expires once it has run for so long, pauses not counted, ms. A retry begins anew. Default: no limit. */
  readonly jobTimeoutMs?: number;
  /** Late in the job, a single item that takes much longer than others is tried on a second node too. Default: no. */
  readonly speculate?: boolean;
  /**
   * A share of the values, `0.01` or `"1%"`: their items run again on another node once there is nothing else to do, and
   * the job ends when their values were compared. Only for tasks that give the same value each time. Default: none.
   */
  readonly audit?: number | `${number}%`;
  /** A .py module is run by this Python, such as "3.11". Default: the setting `python`, else what a node has. */
  readonly python?: string;
  /** Aborts the call; a job that it would have waited for is cancelled. */
  readonly signal?: AbortSignal;
}

export interface SpecParts {
  readonly task: LoadedTask;
  readonly items: Items<unknown>;
  readonly options: JobOptions;
  /** A reduction fails at the first item without a value. */
  readonly strict: boolean;
}

/** Throws EverycoreError `bad-input` for options that cannot be meant. */
export function jobSpec(parts: SpecParts): JobSpec {
  const { task, items, options } = parts;
  const { code } = task;
  const range = items instanceof ItemRange ? items : undefined;
  const {
    retries = 0,
    priority = 0,
    ttlMs = times.jobTtlMs,
    itemTimeoutMs,
    jobTimeoutMs,
    retryDelayMs,
  } = options;
  check("retries", retries, 0, limits.retriesMax);
  check("priority", priority, -1_000, 1_000);
  check("ttlMs", ttlMs, 0, Number.MAX_SAFE_INTEGER);
  if (itemTimeoutMs !== undefined) check("itemTimeoutMs", itemTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  if (jobTimeoutMs !== undefined) check("jobTimeoutMs", jobTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  if (retryDelayMs !== undefined) check("retryDelayMs", retryDelayMs, 0, 24 * 3_600_000);
  const { maxFailures, audit, speculate } = options;
  return {
    name: (options.name ?? basename(task.title)).slice(0, 200),
    task: {
      ...codeFields(code),
      ...(options.python === undefined || code.runtime !== "python" ? {} : { python: options.python }),
      seed: seedText(options.seed),
      rangeStart: range?.start ?? 0,
      retries,
      ...(itemTimeoutMs === undefined ? {} : { itemTimeoutMs }),
    },
    codec: range === undefined ? "msgpack" : "range",
    ...(range === undefined ? {} : { rangeItems: range.end - range.start }),
    priority,
    strict: parts.strict,
    ttlMs,
    ...(maxFailures === undefined ? {} : { maxFailures: failureLimit("maxFailures", String(maxFailures)) }),
    ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
    ...(jobTimeoutMs === undefined ? {} : { jobTimeoutMs }),
    ...(speculate === undefined ? {} : { speculate }),
    ...(audit === undefined ? {} : { audit: auditShare("audit", String(audit)) }),
  };
}

/** `3` items, or `10%` of all. */
export function failureLimit(name: string, text: string): FailureLimit {
  const match = /^(\d{1,13})(%?)$/.exec(text.trim());
  const most = Number(match?.[1]);
  const isShare = match?.[2] === "%";
  if (match !== null && most <= (isShare ? 99 : limits.jobItemsMax)) return { most, isShare };
  throw new EverycoreError("bad-input", `${name} is "${text}", not a number of items or a share of them`, {
    hint: "write how many may fail: 0, 3, or 10% (below 100%)",
  });
}

/** `1%`, or the same as `0.01`. */
export function auditShare(name: string, text: string): number {
  const match = /^(\d{0,3}(?:\.\d{1,12})?)(%?)$/.exec(text.trim());
  const share = Number(match?.[1]) / (match?.[2] === "%" ? 100 : 1);
  if (match?.[1] !== "" && share > 0 && share <= 1) return share;
  throw new EverycoreError("bad-input", `${name} is "${text}", not a share of the items`, {
    hint: "write how many of them run twice: 1%, or 0.01; at most 100%",
  });
}

export function check(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new EverycoreError("bad-input", `${name} is ${value}, not a whole number from ${least} to ${most}`);
}

function seedText(seed: JobOptions["seed"]): string {
  if (seed === undefined) return newSeed();
  const isWhole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  const found =
    typeof seed === "string" ? seedOfDigits(seed) : isWhole ? seedOfInteger(BigInt(seed)) : undefined;
  if (found !== undefined) return found;
  throw new EverycoreError("bad-input", `"${seed}" is not a seed`, {
    hint: "give a whole number from 0 to 2^64-1, or 16 hex digits",
  });
}
