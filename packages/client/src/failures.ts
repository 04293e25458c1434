/**
 * How items and jobs end badly, as exceptions. Each way has a class of its own and a `kind`: `instanceof` and
 * `switch (error.kind)` tell the same. What is wrong with a call itself is an EverycoreError with a code.
 */
import { shortId } from "@everycore/protocol";
import type { ErrorInfo, OutcomeStatus } from "@everycore/protocol";
import type { JobInfo } from "./wire-types.ts";

/** Ways in which the task itself fails: it threw, its program exited or was killed, its value could not be sent. */
const taskKinds = ["error", "exit", "signal", "encode", "decode", "output-too-large"] as const;
type TaskKind = (typeof taskKinds)[number];

/** How an item can end without a value. */
export type ItemErrorKind = TaskKind | Exclude<OutcomeStatus, "value" | "error">;

/** What is known of a failed item. */
export interface ItemFailure {
  readonly index: number;
  readonly info: ErrorInfo;
  readonly status: OutcomeStatus;
  readonly node: string;
  readonly job: string;
  /** Tries after the first that the job allows, where they are known. */
  readonly retries: number | undefined;
}

/** An item ended without a value. `cause` is the task's own error: its class by name, message and stack. */
export abstract class ItemError extends Error {
  abstract readonly kind: ItemErrorKind;
  /** Index of the item in its job's input, from 0. */
  readonly index: number;
  /** Id of the job; `cluster.job(error.job)` is its handle. Empty where it is not known. */
  readonly job: string;
  /** Id of the node that ended the item; empty when the leader did. */
  readonly node: string;
  /** How often the item ran in all; undefined where only the cluster's log knows (after deaths and cancels). */
  readonly attempts: number | undefined;
  /** Last lines of what it wrote to stderr, at most 4 KB; empty when there is none. */
  readonly stderrTail: string;
  /** Exit code of the program or worker, if it had one. */
  readonly exitCode: number | undefined;
  /** Signal that killed the program or worker, such as SIGSEGV. */
  readonly signal: string | undefined;
  /** Largest memory of the worker that died, bytes. */
  readonly peakBytes: number | undefined;
  /** All that the cluster keeps of it. */
  readonly info: ErrorInfo;

  constructor(failure: ItemFailure) {
    const { index, info, job, node } = failure;
    const name = info.name === "" || info.name === info.kind ? info.kind : info.name;
    super(`item ${index}: ${name}${info.message === "" ? "" : `: ${info.message}`}`, {
      cause: causeOf(info),
    });
    this.index = index;
    this.job = job;
    this.node = node;
    this.info = info;
    this.stderrTail = info.stderrTail ?? "";
    this.exitCode = info.exitCode;
    this.signal = info.signal;
    this.peakBytes = info.peakBytes;
    this.attempts = attemptsOf(failure);
  }
}

/** The task failed: it threw, or its program did, or its value cannot be sent. Retries are used up. */
export class ItemFailedError extends ItemError {
  override readonly name = "ItemFailedError";
  readonly kind: TaskKind;

  constructor(failure: ItemFailure) {
    super(failure);
    // A newer cluster may know ways that this client does not: to whoever looks at the kind it is an error.
    this.kind = taskKinds.find((kind) => kind === failure.info.kind) ?? "error";
  }
}

/** The item ran longer than `itemTimeoutMs` and was killed, with all its tries. */
export class ItemTimeoutError extends ItemError {
  override readonly name = "ItemTimeoutError";
  readonly kind = "timeout";
}

/** The worker died while it ran this item, on two nodes where there are two: `signal`, `peakBytes`, `stderrTail`. */
export class ItemCrashedError extends ItemError {
  override readonly name = "ItemCrashedError";
  readonly kind = "crash";
}

/** The item lost its agent or node three times while it ran. */
export class ItemLostError extends ItemError {
  override readonly name = "ItemLostError";
  readonly kind = "lost";
}

/** The job was cancelled, or failed as a whole, before the item ended. */
export class ItemCancelledError extends ItemError {
  override readonly name = "ItemCancelledError";
  readonly kind = "cancelled";
}

/** The job's time was over before the item ended. */
export class ItemExpiredError extends ItemError {
  override readonly name = "ItemExpiredError";
  readonly kind = "expired";
}

/** The error of a failed item, by the way it ended. */
export type AnyItemError =
  | ItemFailedError
  | ItemTimeoutError
  | ItemCrashedError
  | ItemLostError
  | ItemCancelledError
  | ItemExpiredError;

export function itemError(failure: ItemFailure): AnyItemError {
  switch (failure.status) {
    case "timeout":
      return new ItemTimeoutError(failure);
    case "crash":
      return new ItemCrashedError(failure);
    case "lost":
      return new ItemLostError(failure);
    case "cancelled":
      return new ItemCancelledError(failure);
    case "expired":
      return new ItemExpiredError(failure);
    case "value":
    case "error":
      return new ItemFailedError(failure);
  }
}

/** The job ended as a whole before its items did. */
export abstract class JobError extends Error {
  /** Id of the job. */
  readonly job: string;
  /** The job as it ended. */
  readonly info: JobInfo;

  constructor(message: string, info: JobInfo) {
    super(message);
    this.job = info.id;
    this.info = info;
  }
}

/** The job failed: its task cannot be loaded, every item crashed, more failed than may, or a strict reduction missed one. */
export class JobFailedError extends JobError {
  override readonly name = "JobFailedError";

  constructor(info: JobInfo) {
    super(`job ${info.id} failed${info.reason === "" ? "" : `: ${info.reason}`}`, info);
  }
}

/** Somebody cancelled the job, or its time was over (`jobTimeoutMs`). */
export class JobCancelledError extends JobError {
  override readonly name = "JobCancelledError";

  constructor(info: JobInfo) {
    super(`job ${info.id} was cancelled${info.reason === "" ? "" : `: ${info.reason}`}`, info);
  }
}

/** All items have ended, and the audit has found some on which two nodes do not agree: `info.audit` names them. */
export class JobAuditError extends JobError {
  override readonly name = "JobAuditError";

  constructor(info: JobInfo) {
    super(`job ${info.id}: ${differingText(info)}`, info);
  }
}

const namedMax = 3;

/** "item 17 differs between nodes 1a2b3c4d and 5e6f7081 (of 40 compared)"; empty where none does. */
export function differingText({ audit }: Pick<JobInfo, "audit">): string {
  const [only] = audit?.items ?? [];
  if (audit === undefined || audit.differing === 0 || only === undefined) return "";
  const nodes = ({ first, second, how }: typeof only): string => {
    const said = how === "value" ? "" : ` (${how} there)`;
    return `nodes ${shortId(first)} and ${shortId(second)}${said}`;
  };
  const of = `of ${audit.checked} compared`;
  if (audit.differing === 1) return `item ${only.index} differs between ${nodes(only)}, ${of}`;
  const named = audit.items.slice(0, namedMax).map((item) => `item ${item.index} between ${nodes(item)}`);
  const more = audit.differing > named.length ? ", ..." : "";
  return `${audit.differing} items differ, ${of}: ${named.join(", ")}${more}`;
}

/** The job, or what it means for its reader that it ended as a whole. */
export function throwIfBroken(info: JobInfo): JobInfo {
  if (info.state === "failed") throw new JobFailedError(info);
  if (info.state === "cancelled") throw new JobCancelledError(info);
  if ((info.audit?.differing ?? 0) > 0) throw new JobAuditError(info);
  return info;
}

/** An error or timeout is final only after its last try; deaths are counted by the cluster alone. */
function attemptsOf({ status, retries }: ItemFailure): number | undefined {
  return retries !== undefined && (status === "error" || status === "timeout") ? retries + 1 : undefined;
}

/** The task's error as it was thrown, as far as it travelled. */
function causeOf(info: ErrorInfo): Error {
  const cause = new Error(info.message, info.cause === undefined ? undefined : { cause: info.cause });
  cause.name = info.name;
  cause.stack = info.trace ?? `${info.name}: ${info.message}`;
  return cause;
}
