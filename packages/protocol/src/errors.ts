/**
 * One error class, one closed list of codes. The code decides the CLI's exit status and whether a call may be
 * tried again; the message says what happened, to which id; the hint what to do. Bugs are `assert`, expected
 * endings of items are values (ErrorInfo), neither is an EverycoreError.
 */

export const errorCodes = {
  /** The request cannot be right whenever it is sent: flag, range, item, specification. */
  "bad-input": { exit: 2, retryable: false },
  /** No job, node, bundle or export of that name. */
  "not-found": { exit: 2, retryable: false },
  /** The id prefix fits more than one. */
  ambiguous: { exit: 2, retryable: false },
  /** It is there already, or in a state that does not allow this. */
  conflict: { exit: 2, retryable: false },
  /** A named limit would be passed. */
  "over-limit": { exit: 2, retryable: false },
  /** The task cannot be built, loaded or found. */
  "bad-task": { exit: 2, retryable: false },
  /** Coordinator or NATS cannot be reached. */
  unreachable: { exit: 4, retryable: true },
  /** No leader at the moment. */
  "no-leader": { exit: 4, retryable: true },
  /** Storage is at its watermark. */
  "storage-full": { exit: 4, retryable: true },
  /** Secret missing or wrong, or not allowed. */
  refused: { exit: 4, retryable: false },
  /** A wait is over. */
  timeout: { exit: 124, retryable: true },
  cancelled: { exit: 3, retryable: false },
  internal: { exit: 5, retryable: false },
} as const;

export type ErrorCode = keyof typeof errorCodes;

export const isErrorCode = (text: unknown): text is ErrorCode =>
  typeof text === "string" && Object.hasOwn(errorCodes, text);

export class EverycoreError extends Error {
  override readonly name = "EverycoreError";
  readonly code: ErrorCode;
  /** What to do about it, one sentence, or empty. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? "";
  }

  get exitCode(): number {
    return errorCodes[this.code].exit;
  }
}

/** How an item failed, as users see it (DESIGN 5). Travels as msgpack, codec `error`. */
export interface ErrorInfo {
  /** error, timeout, crash, lost, cancelled, expired, exit, signal, encode, decode, output-too-large. */
  readonly kind: string;
  /** Class of the exception, or the kind again. */
  readonly name: string;
  readonly message: string;
  readonly trace?: string;
  readonly cause?: string;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly peakBytes?: number;
  readonly stderrTail?: string;
  /** `exec`: what the program printed before it failed. */
  readonly stdout?: Uint8Array;
  /** `exec`, of a job with `returns`: what it left in its folder (returned-files.ts). */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  readonly executable?: readonly string[];
  readonly native?: { readonly codec: string; readonly bytes: Uint8Array };
}
