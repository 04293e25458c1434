/** Coordinators and replicas as they are told of, to each other and to people; types only (pure). */

/** In how many servers of NATS the streams are kept, and whether they are. */
export interface Replication {
  /** What is wanted; 0: NATS did not say. */
  readonly replicas: number;
  /** 0 where NATS is one server alone. */
  readonly streams: number;
  /** Streams that have fewer, or some that are not current. */
  readonly behind: number;
  /** Names of the servers that lack something. */
  readonly servers: readonly string[];
}

/** One coordinator of a cluster. */
export interface CoordinatorInfo {
  /** HOST:PORT, as it is advertised. */
  readonly address: string;
  readonly host: string;
  readonly version: string;
  /** It leads; else it stands by. */
  readonly leading: boolean;
  /** When it began to lead, or to stand by; ms since epoch. */
  readonly since: number;
  readonly startedAt: number;
}
