/**
 * One outcome as one JSON line, made by hand: a million of them must print in about a second. JSON values are copied
 * as the text they already are; msgpack is decoded and written with what JSON lacks spelled out:
 * bytes as {"$bytes": base64}, NaN, infinities and integers beyond 2^53 as {"$num": "..."}.
 */
import { decodeErrorInfo } from "@everycore/protocol";
import type { ErrorInfo } from "@everycore/protocol";
import type { Outcome } from "@everycore/client/internal";

/** `{"index":7,"value":...}` or `{"index":7,"error":{kind,name,message,node}}`, with its line end. */
export function resultLine(outcome: Outcome): string {
  return outcome.isValue
    ? `{"index":${outcome.index},"value":${valueText(outcome)}}\n`
    : `{"index":${outcome.index},"error":${errorText(outcome)}}\n`;
}

/** The bare value, with its line end; for `--values`. */
export const valueLine = (outcome: Outcome): string => `${valueText(outcome)}\n`;

/** The value as JSON text on one line. */
export function valueText(outcome: Outcome): string {
  switch (outcome.codec) {
    case "utf8":
      return JSON.stringify(outcome.payload.toString("utf8"));
    case "json": {
      const text = outcome.payload.toString("utf8");
      // Pretty-printed text of a foreign worker would break the line.
      return text.includes("\n") ? toJson(JSON.parse(text)) : text;
    }
    case "msgpack":
      return toJson(outcome.value());
    case "py":
      return `{"$bytes":"${outcome.payload.toString("base64")}","$codec":"py"}`;
    default:
      return bytesText(outcome.payload);
  }
}

export function errorText(outcome: Outcome): string {
  const { kind, name, message } = readError(outcome);
  return `{"kind":${JSON.stringify(kind)},"name":${JSON.stringify(name)},"message":${JSON.stringify(message)},"node":${JSON.stringify(outcome.node)}}`;
}

export function readError(outcome: Outcome): ErrorInfo {
  try {
    return outcome.codec === "error" ? decodeErrorInfo(outcome.payload) : outcome.error();
  } catch {
    return { kind: outcome.status, name: outcome.status, message: "its error cannot be decoded" };
  }
}

const bytesText = (bytes: Uint8Array): string =>
  `{"$bytes":"${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")}"}`;

/** JSON text of any decoded value. */
export function toJson(value: unknown): string {
  switch (typeof value) {
    case "number":
      return isPlainNumber(value) ? (Object.is(value, -0) ? "-0" : String(value)) : numberText(String(value));
    case "bigint":
      return isPlainNumber(Number(value)) ? String(value) : numberText(String(value));
    case "string":
      return JSON.stringify(value);
    case "boolean":
      return value ? "true" : "false";
    case "object":
      return value === null ? "null" : objectText(value);
    default:
      return "null";
  }
}

/** Finite, and exact where it is an integer. */
const isPlainNumber = (value: number): boolean =>
  Number.isFinite(value) && (!Number.isInteger(value) || Math.abs(value) <= Number.MAX_SAFE_INTEGER);

const numberText = (text: string): string => `{"$num":"${text}"}`;

function objectText(value: object): string {
  if (Array.isArray(value)) return `[${value.map(toJson).join(",")}]`;
  if (value instanceof Uint8Array) return bytesText(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "null" : JSON.stringify(value);
  if (value instanceof Map) {
    return `{${[...value].map(([key, field]) => `${JSON.stringify(String(key))}:${toJson(field)}`).join(",")}}`;
  }
  if (value instanceof Set) return `[${[...value].map(toJson).join(",")}]`;
  const fields = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}:${toJson(field)}`);
  return `{${fields.join(",")}}`;
}
