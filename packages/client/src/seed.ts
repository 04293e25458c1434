/** Seeds of a job's random numbers: 64 bits, written as 16 hex digits in its specification. */
import { randomBytes } from "node:crypto";

/** Another one for each job that does not ask for its own. */
export const newSeed = (): string => randomBytes(8).toString("hex");

/** 16 hex digits as they are written; undefined for any other text. */
export const seedOfDigits = (text: string): string | undefined =>
  /^[0-9a-fA-F]{16}$/.test(text) ? text.toLowerCase() : undefined;

/** undefined for what 64 bits do not hold. */
export const seedOfInteger = (value: bigint): string | undefined =>
  value >= 0n && value < 2n ** 64n ? value.toString(16).padStart(16, "0") : undefined;
