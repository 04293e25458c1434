/**
 * Branded identifiers. A string becomes an id only here, so that a job's id can never be passed where a
 * node's is meant. Short forms are for people; wires always carry the whole id.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** 20 lower-case hex digits: the first 10 bytes of SHA-256(user, request id). */
export type JobId = Branded<"JobId">;
/** 16 lower-case hex digits, drawn once per state directory. */
export type NodeId = Branded<"NodeId">;
/** 32 lower-case hex digits: 16 bytes of an HMAC (see lease-id.ts). */
export type LeaseId = Branded<"LeaseId">;
/** 64 lower-case hex digits: SHA-256 of the bundle's bytes. */
export type BundleDigest = Branded<"BundleDigest">;
/** Token of a log segment inside stream names and subjects: [a-z0-9]{1,24}. */
export type SegmentId = Branded<"SegmentId">;

const jobPattern = /^[0-9a-f]{20}$/;
const nodePattern = /^[0-9a-f]{16}$/;
const leasePattern = /^[0-9a-f]{32}$/;
const digestPattern = /^[0-9a-f]{64}$/;
const segmentPattern = /^[a-z0-9]{1,24}$/;

export const isJobId = (text: unknown): text is JobId => typeof text === "string" && jobPattern.test(text);
export const isNodeId = (text: unknown): text is NodeId => typeof text === "string" && nodePattern.test(text);
export const isLeaseId = (text: unknown): text is LeaseId =>
  typeof text === "string" && leasePattern.test(text);
export const isBundleDigest = (text: unknown): text is BundleDigest =>
  typeof text === "string" && digestPattern.test(text);
export const isSegmentId = (text: unknown): text is SegmentId =>
  typeof text === "string" && segmentPattern.test(text);

/** Digits shown to people; a unique prefix of any length is accepted back. */
export const shortIdDigits = 8;
export const shortId = (id: string): string => id.slice(0, shortIdDigits);

/** Prefix of a job id as a user may type it. */
export const isJobPrefix = (text: string): boolean => /^[0-9a-f]{4,20}$/.test(text);
