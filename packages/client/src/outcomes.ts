/**
 * One item's outcome as a client sees it. Decoding is lazy: a reader that only copies bytes never pays for it.
 * Bytes that this client cannot decode (pickles) stay bytes, with the name of their codec.
 */
import { codecName, decode, decodeErrorInfo, statusName } from "@everycore/protocol";
import type { Codec, ErrorInfo, OutcomeStatus } from "@everycore/protocol";

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
    if (!this.isValue) throw new ItemError(this.index, this.error());
    return decodeValue(this.codec, this.payload);
  }

  /** Why the item has no value. */
  error(): ErrorInfo {
    if (this.codec === "error") return decodeErrorInfo(this.payload);
    return { kind: this.status, name: this.status, message: "" };
  }
}

/** A failed item, thrown by `value()`. */
export class ItemError extends Error {
  override readonly name = "ItemError";
  readonly index: number;
  readonly info: ErrorInfo;

  constructor(index: number, info: ErrorInfo) {
    super(`item ${index}: ${info.name}: ${info.message}`);
    this.index = index;
    this.info = info;
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
