/** What the services of the control plane work with: the running coordinator, seen from its RPCs. */
import type { JobId, SegmentId } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import type { Logger } from "pino";
import type { Asks } from "../asks.ts";
import type { Changes } from "../changes.ts";
import type { ClusterState, JobView, Keys } from "../core/index.ts";
import { jobView } from "../core/index.ts";
import type { Bodies } from "../data/bodies.ts";
import type { Bundles } from "../data/bundles.ts";
import type { Data } from "../data/connection.ts";
import type { JobIndexes } from "../data/job-index.ts";
import type { JobRecords } from "../data/job-records.ts";
import type { LogPositions } from "../data/log-positions.ts";
import type { LogWriter } from "../data/log-writer.ts";
import type { Segments } from "../data/segments.ts";
import type { WorldEvent } from "../loop.ts";
import type { Metrics } from "../metrics.ts";
import type { Message } from "./handlers.ts";
import { resolveJob } from "./job-info.ts";
import type { Links } from "./links.ts";

export interface ControlParts {
  readonly state: ClusterState;
  readonly enqueue: (event: WorldEvent) => void;
  readonly asks: Asks;
  readonly changes: Changes;
  readonly keys: Keys;
  readonly data: Data;
  readonly segments: Segments;
  readonly jobRecords: JobRecords;
  readonly writer: LogWriter;
  readonly bodies: Bodies;
  readonly bundles: Bundles;
  readonly indexes: JobIndexes;
  readonly links: Links;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** All of the cluster, as messages. */
  readonly coordinators: () => readonly Message[];
  /** Throws no-leader unless this coordinator leads and knows all jobs. */
  readonly mustLead: () => void;
  /** A segment was created: its records must be read. */
  readonly openSegment: (segment: SegmentId) => void;
  readonly positions: LogPositions;
  /** Jobs that had ended before this leader led and whose logs it has read for somebody. */
  readonly readLogs: () => number;
}

/** Every job belongs to this user until there are accounts. */
export const localUser = "local";

export function findJob(parts: ControlParts, typed: string): JobId {
  parts.mustLead();
  return resolveJob(typed, parts.state.jobs.keys());
}

export function viewOf(parts: ControlParts, id: JobId): JobView {
  const view = jobView(parts.state, id);
  if (view !== undefined) return view;
  parts.mustLead(); // a leader that was deposed has forgotten all jobs
  throw new EverycoreError("not-found", `job ${id} was deleted`);
}
