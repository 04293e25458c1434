/**
 * One item's outcome as a client sees it. Decoding is lazy: a reader that only copies bytes never pays for it.
 * Bytes that this client cannot decode (pickles) stay bytes, with the name of their codec.
 */
import { codecName, decode, decodeErrorInfo, statusName } from "@everycore/protocol";
import type { Codec, ErrorInfo, OutcomeStatus } from "@everycore/protocol";
import { itemError } from "./failures.ts";
import type { AnyItemError } from "./failures.ts";

export interface OutcomeFields {
  readonly index: number;
  readonly status: number;
  readonly codec: number;
  readonly micros: number;
  readonly payload: Buffer;
  readonly node: string;
}

export class Outcome {
  readonly index: number;
  readonly status: OutcomeStatus;
  readonly codec: Codec | undefined;
  /** How long the item ran, microseconds. */
  readonly micros: number;
  /** The bytes as they travelled. A view: copy what must outlive the batch. */
  readonly payload: Buffer;
  /** Node that ended the item; empty when the leader did. */
  readonly node: string;

  constructor(fields: OutcomeFields) {
    this.index = fields.index;
    this.status = statusName(fields.status) ?? "error";
    this.codec = codecName(fields.codec);
    this.micros = fields.micros;
    this.payload = fields.payload;
    this.node = fields.node;
  }

  get isValue(): boolean {
    return this.status === "value";
  }

  /** The value, decoded; bytes for codecs of other languages. Throws the error of a failed item. */
  value(): unknown {
    if (!this.isValue) throw this.failure();
    return decodeValue(this.codec, this.payload);
  }

  /** Why the item has no value. */
  error(): ErrorInfo {
    if (this.codec === "error") return decodeErrorInfo(this.payload);
    return { kind: this.status, name: this.status, message: "" };
  }

  /** The same as an exception. */
  failure(known: { job?: string; retries?: number | undefined } = {}): AnyItemError {
    const { index, status, node } = this;
    return itemError({
      index,
      status,
      node,
      info: this.error(),
      job: known.job ?? "",
      retries: known.retries,
    });
  }
}

export function decodeValue(codec: Codec | undefined, payload: Buffer): unknown {
  switch (codec) {
    case "utf8":
      return payload.toString("utf8");
    case "json":
      return JSON.parse(payload.toString("utf8"));
    case "msgpack":
      return decode(payload);
    default:
      return payload;
  }
}

/** How one item ended, as programs get it: `ok` tells which. */
export type ItemOutcome<Value> =
  | {
      readonly ok: true;
      /** Index of the item in the job's input, from 0. */
      readonly index: number;
      readonly value: Value;
      /** Id of the node that ran it. */
      readonly node: string;
      /** How long it ran, ms. */
      readonly ms: number;
    }
  | {
      readonly ok: false;
      readonly index: number;
      readonly error: AnyItemError;
      readonly node: string;
      readonly ms: number;
    };

/** The value of an outcome that has one. Bytes are copied out of the batch they came in. */
export function valueOf(outcome: Outcome): unknown {
  const value = outcome.value();
  return value === outcome.payload ? new Uint8Array(outcome.payload) : value;
}

export function itemOutcome<Value>(
  outcome: Outcome,
  known: { job: string; retries?: number | undefined },
): ItemOutcome<Value> {
  const { index, node } = outcome;
  const ms = outcome.micros / 1000;
  // The value's type is what the user says that the task returns.
  if (outcome.isValue) return { ok: true, index, node, ms, value: valueOf(outcome) as Value };
  return { ok: false, index, node, ms, error: outcome.failure(known) };
}
