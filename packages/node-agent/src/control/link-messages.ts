/** Messages of the link to and from what the core speaks. The only place that knows agent.proto's field names. */
import type { JobId, LeaseGrant, LeaseId, Range } from "@everycore/protocol";
import { count, fieldsOf, isJobId, bad, list, number, text } from "@everycore/protocol";
import type { AgentEvent, LeaseReportFacts } from "../core/index.ts";
import type { LooseMessage } from "./link.ts";

export interface WelcomeFacts {
  readonly natsUrls: readonly string[];
  readonly natsUser: string;
  readonly natsPassword: string;
  readonly inboxPrefix: string;
  readonly cluster: string;
}

export type FromLeader =
  | { readonly event: AgentEvent; readonly welcome?: WelcomeFacts }
  | { readonly outputAsk: { job: JobId; ask: number } };

export const grantToProto = (grant: LeaseGrant): LooseMessage => ({
  ...grant,
  id: Buffer.from(grant.id, "hex"),
});

export const reportToProto = (report: LeaseReportFacts): LooseMessage => ({
  job: report.job,
  grant: grantToProto(report.grant),
  unfinished: report.unfinished,
  unacknowledged: report.unacknowledged,
  gaveBack: report.gaveBack,
  acknowledgedSeq: report.acknowledgedSeq,
});

const hexOf = (value: unknown): LeaseId => Buffer.from(value as Uint8Array).toString("hex") as LeaseId;

const jobOf = (fields: Readonly<Record<string, unknown>>): JobId => {
  if (!isJobId(fields["job"])) throw bad("link message", "job");
  return fields["job"];
};

/** undefined: of a coordinator of an earlier version, or the job is gone. */
const roundOf = (fields: Readonly<Record<string, unknown>>): number | undefined => {
  const round = fields["round"];
  return typeof round === "number" ? round : undefined;
};

/** Throws EverycoreError `bad-input` for what is malformed; undefined for parts of a later version. */
export function parseToAgent(message: LooseMessage, at: number): FromLeader | undefined {
  const part = message["part"];
  if (typeof part !== "string") return undefined;
  const fields = fieldsOf(message[part], part);
  switch (part) {
    case "welcome": {
      const drop = list(fields, "drop", part, 1_000_000).map(hexOf);
      const event = {
        kind: "welcomed",
        at,
        epoch: count(fields, "epoch", part),
        nodes: count(fields, "nodes", part),
        drop,
      } as const;
      return {
        event,
        welcome: {
          natsUrls: list(fields, "natsUrls", part, 100).map(String),
          natsUser: text(fields, "natsUser", part),
          natsPassword: text(fields, "natsPassword", part),
          inboxPrefix: text(fields, "inboxPrefix", part),
          cluster: text(fields, "cluster", part),
        },
      };
    }
    case "cancel":
      return { event: { kind: "cancelled", at, job: jobOf(fields), round: roundOf(fields) } };
    case "ended":
      return { event: { kind: "jobEnded", at, job: jobOf(fields), round: roundOf(fields) } };
    case "giveBack":
      return {
        event: {
          kind: "giveBackAsked",
          at,
          job: jobOf(fields),
          wantMs: number(fields, "wantMs", part),
          isAll: fields["all"] === true,
        },
      };
    case "confirm": {
      const ranges = list(fields, "ranges", part, 1_000_000) as Range[]; // two uint64 each, by the proto
      return {
        event: { kind: "giveBackConfirmed", at, job: jobOf(fields), lease: hexOf(fields["lease"]), ranges },
      };
    }
    case "drop":
      return {
        event: { kind: "leasesDropped", at, leases: list(fields, "leases", part, 1_000_000).map(hexOf) },
      };
    case "drain":
      return { event: { kind: "drainAsked", at, deadlineMs: Number.POSITIVE_INFINITY } };
    case "undrain":
      return { event: { kind: "undrainAsked", at } };
    case "askLease":
      return { event: { kind: "leaseAsked", at, job: jobOf(fields), lease: hexOf(fields["lease"]) } };
    case "mayStart":
      return { event: { kind: "mayStart", at, ask: count(fields, "ask", part) } };
    case "output":
      return { outputAsk: { job: jobOf(fields), ask: count(fields, "ask", part) } };
    default:
      return undefined;
  }
}
