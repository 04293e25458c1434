/**
 * A coordinator: its connection, its servers, and its terms as leader, wired together. Decisions are the core's;
 * this file only says who talks to whom.
 */
import { createHash } from "node:crypto";
import type { JobId, SegmentId } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import { openTracing } from "@everycore/protocol/tracing";
import type { Logger } from "pino";
import { Asks } from "./asks.ts";
import { Changes } from "./changes.ts";
import type { CoordinatorConfig } from "./config.ts";
import { splitAddress } from "./config.ts";
import { Coordinators } from "./coordinators.ts";
import type { Effect, Keys } from "./core/index.ts";
import { isBundleUsed } from "./core/index.ts";
import { clusterHandlers } from "./control/cluster.ts";
import { jobHandlers } from "./control/jobs.ts";
import { Links } from "./control/links.ts";
import { nodeHandlers } from "./control/nodes.ts";
import type { ControlParts } from "./control/parts.ts";
import { ControlServer } from "./control/server.ts";
import { countMalformed } from "./data/among-coordinators.ts";
import { Bodies } from "./data/bodies.ts";
import type { Buckets } from "./data/buckets.ts";
import { openBuckets, openLeaderBucket } from "./data/buckets.ts";
import { Bundles } from "./data/bundles.ts";
import { Checkpoints } from "./data/checkpoints.ts";
import type { Data } from "./data/connection.ts";
import { openData, watchConnection } from "./data/connection.ts";
import { FetchServer } from "./data/fetch.ts";
import { JobIndexes } from "./data/job-index.ts";
import { JobRecords } from "./data/job-records.ts";
import { clusterKey, keysOf } from "./data/keys.ts";
import { KnownNodes } from "./data/known-nodes.ts";
import { Leadership } from "./data/leader.ts";
import { LeaseSender } from "./data/lease-sender.ts";
import { LogPositions } from "./data/log-positions.ts";
import { LogWriter } from "./data/log-writer.ts";
import { replicasOf, replicationReader, whileElecting } from "./data/replicas.ts";
import { Segments } from "./data/segments.ts";
import { jobKey, performer } from "./effects.ts";
import { fetchedJobs } from "./fetched-jobs.ts";
import { gaugesOf } from "./gauges.ts";
import type { HttpServer } from "./http.ts";
import { serveHttp } from "./http.ts";
import { LifecycleLog } from "./lifecycle-log.ts";
import { Loop } from "./loop.ts";
import { Metrics } from "./metrics.ts";
import { Term } from "./term.ts";
import { JobTracing } from "./tracing.ts";

const version = "0.1.0";

export interface RunningCoordinator extends AsyncDisposable {
  readonly address: string;
  readonly http: string;
}

export async function startCoordinator(config: CoordinatorConfig, log: Logger): Promise<RunningCoordinator> {
  const data = await openData(config.nats);
  try {
    const replicas = await whileElecting(() => replicasOf(data.jsm, config.replicas));
    const buckets = await openBuckets(data, replicas);
    const key = await clusterKey(buckets.meta);
    const onTrouble = (reason: string): void => log.warn({ reason }, "traces");
    const tracing = new JobTracing(
      await openTracing({ service: "everycore-coordinator", version, onTrouble }),
    );
    const coordinator = new Coordinator({ config, log, data, buckets, replicas, key, tracing });
    await coordinator.start();
    return coordinator;
  } catch (error) {
    await data.nats.close();
    throw error;
  }
}

interface Opened {
  readonly config: CoordinatorConfig;
  readonly log: Logger;
  readonly data: Data;
  readonly buckets: Buckets;
  readonly replicas: number;
  readonly key: Uint8Array;
  readonly tracing: JobTracing;
}

class Coordinator implements RunningCoordinator {
  readonly #opened: Opened;
  readonly #keys: Keys;
  readonly #stopping = new AbortController();
  readonly #asks = new Asks();
  readonly #changes = new Changes();
  readonly #bodies: Bodies;
  readonly #jobRecords: JobRecords;
  readonly #checkpoints: Checkpoints;
  readonly #knownNodes: KnownNodes;
  readonly #loop: Loop;
  readonly #lifecycle: LifecycleLog;
  readonly #metrics: Metrics;
  readonly #segments: Segments;
  readonly #writer: LogWriter;
  readonly #indexes: JobIndexes;
  readonly #bundles: Bundles;
  readonly #links: Links;
  readonly #coordinators: Coordinators;
  readonly #fetches: FetchServer;
  readonly #server: ControlServer;
  readonly #perform: (effect: Effect) => void;
  /** Identifies the cluster to people and agents; says nothing of the key. */
  readonly #cluster: string;
  #leadership: Leadership | undefined;
  #term: Term | undefined;
  #http: HttpServer | undefined;
  #background: Promise<void>[] = [];
  address = "";

  constructor(opened: Opened) {
    this.#opened = opened;
    const { config, log, data, buckets, replicas, key } = opened;
    this.#keys = keysOf(key);
    this.#cluster = createHash("sha256").update("cluster name").update(key).digest("hex").slice(0, 12);
    this.#metrics = this.#newMetrics();
    this.#bodies = new Bodies(data);
    this.#jobRecords = new JobRecords(buckets.jobs, data.jsm, log);
    this.#checkpoints = new Checkpoints(buckets.meta, data, log);
    this.#knownNodes = new KnownNodes(buckets.nodes, log, (reason) => this.#stepDown(reason));
    this.#loop = new Loop({
      keys: this.#keys,
      perform: (effect) => this.#perform(effect),
      onBug: (error, event) => {
        log.error({ err: error, event: event.kind }, "the core failed: taking over anew from records");
        this.#leadership?.stepDown("the core failed");
      },
    });
    this.#lifecycle = new LifecycleLog(log, () => this.#loop.state);
    this.#segments = new Segments({
      data,
      replicas,
      log,
      onLevel: (level) => this.#loop.enqueue({ kind: "storageLevel", level }),
      isActive: () => this.#loop.state.active.size > 0,
    });
    this.#writer = new LogWriter({
      data,
      onFull: () => this.#segments.pollSoon(),
      makeRoom: (segment) => this.#segments.makeRoom(segment),
    });
    this.#indexes = new JobIndexes({
      data,
      verify: (job, grant) => this.#keys.verify(job, grant),
      onMalformed: () => this.#metrics.malformed("log"),
      onChange: (job) => this.#changes.touch(jobKey(job)),
    });
    this.#bundles = new Bundles(buckets.blobs, (name) => isBundleUsed(this.#loop.state, name));
    this.#links = new Links({
      enqueue: (event) => this.#loop.enqueue(event),
      log,
      metrics: this.#metrics,
      agentNats: config.agentNats,
      cluster: this.#cluster,
      epoch: () => {
        this.#mustLead();
        return this.#loop.state.epoch;
      },
    });
    this.#perform = this.#performer();
    this.#fetches = this.#newFetchServer();
    this.#coordinators = new Coordinators({
      nats: data.nats,
      version,
      isLeading: () => this.#term?.isOpen === true,
      leader: () => this.#leadership?.current() ?? Promise.resolve(""),
      onMalformed: () => this.#metrics.malformed("coordinator"),
      onAddresses: (addresses) => this.#links.tellAddresses(addresses),
    });
    this.#server = new ControlServer({
      secret: config.secret,
      log,
      metrics: this.#metrics,
      coordinators: this.#coordinators,
    });
  }

  get http(): string {
    return this.#http?.address ?? "";
  }

  /** Resolves when it leads and knows all jobs, or another leads. */
  async start(): Promise<void> {
    const { config, log, data } = this.#opened;
    countMalformed(data.nats, (plane) => this.#metrics.malformed(plane));
    this.#addServices();
    if (config.insecureNetwork) {
      log.warn("--insecure-network: everyone on this network can read all traffic, and the secret with it");
    }
    const port = await this.#server.listen(config.listen);
    this.address = config.advertise ?? `${splitAddress(config.listen).host}:${port}`;
    this.#coordinators.start(this.address);
    this.#http = await serveHttp({
      listen: config.httpListen,
      registry: this.#metrics.registry,
      notReady: () => this.#notReady(),
    });
    const tried = Promise.withResolvers<void>();
    this.#leadership = this.#campaign(() => tried.resolve());
    this.#background = [
      this.#leadership.run(),
      watchConnection(data, () => {
        this.#metrics.count("reconnects");
        this.#term?.restartTails();
        this.#indexes.restart();
        this.#segments.pollSoon();
      }),
    ];
    await tried.promise;
    log.info({ address: this.address, http: this.http, cluster: this.#cluster }, "coordinator ready");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    const [campaigning, watching] = this.#background;
    await campaigning;
    this.#coordinators.close();
    await this.#server.close();
    await this.#http?.[Symbol.asyncDispose]();
    await this.#indexes.close();
    await this.#opened.tracing.close();
    await this.#opened.data.nats.close();
    await watching;
  }

  #campaign(tried: () => void): Leadership {
    const { log, data, buckets, replicas } = this.#opened;
    return new Leadership({
      nats: data.nats,
      leader: buckets.leader,
      remakeLeader: () => openLeaderBucket(data, replicas),
      meta: buckets.meta,
      address: this.address,
      log,
      signal: this.#stopping.signal,
      tried,
      lead: (epoch, signal) => this.#lead(epoch, signal, tried),
    });
  }

  async #lead(epoch: number, signal: AbortSignal, opened: () => void): Promise<void> {
    const { log, data, tracing } = this.#opened;
    this.#term = new Term(
      {
        data,
        loop: this.#loop,
        jobRecords: this.#jobRecords,
        knownNodes: this.#knownNodes,
        segments: this.#segments,
        checkpoints: this.#checkpoints,
        metrics: this.#metrics,
        log,
        onRecord: (job, segment, seq, record) => {
          this.#indexes.feed(job, segment, seq, record);
          tracing.logged(this.#loop.state.jobs.get(job), record);
          if (record.kind === "strike") this.#lifecycle.struck(record);
        },
        stepDown: (reason) => this.#stepDown(reason),
      },
      epoch,
      signal,
    );
    using served = new DisposableStack();
    const begun = (): void => {
      served.use(this.#fetches.serve());
      this.#coordinators.leadChanged();
      opened();
    };
    try {
      await this.#term.run(begun);
    } finally {
      this.#term = undefined;
      this.#coordinators.leadChanged();
      this.#indexes.termOver();
      tracing.termOver();
      this.#lifecycle.termOver();
      this.#asks.rejectAll();
      this.#links.closeAll(new EverycoreError("no-leader", "this coordinator no longer leads"));
      this.#changes.touchAll();
      await this.#loop.drained;
    }
  }

  /** A standby is ready too, while it knows whom it stands by for. */
  async #notReady(): Promise<string> {
    if (this.#opened.data.nats.isClosed()) return "the connection to NATS is closed";
    return (await this.#coordinators.leader()) === "" ? "nobody leads, or NATS does not answer" : "";
  }

  #mustLead(): void {
    if (this.#term?.isOpen === true) return;
    throw new EverycoreError("no-leader", "this coordinator does not lead at the moment", {
      hint: "try again in a moment",
    });
  }

  #performer(): (effect: Effect) => void {
    const { log, data, tracing } = this.#opened;
    return performer({
      state: () => this.#loop.state,
      enqueue: (event) => this.#loop.enqueue(event),
      term: () => this.#term?.signal ?? AbortSignal.abort(),
      jobRecords: this.#jobRecords,
      knownNodes: this.#knownNodes,
      checkpoints: this.#checkpoints,
      writer: this.#writer,
      leases: new LeaseSender({
        nats: data.nats,
        bodies: this.#bodies,
        log,
        tracing,
        onSent: () => this.#metrics.count("leases"),
        onAnswered: (afterMs) => this.#metrics.leaseAnswered(afterMs),
        onMalformed: () => this.#metrics.malformed("lease"),
      }),
      bodies: this.#bodies,
      links: this.#links,
      asks: this.#asks,
      changes: this.#changes,
      tracing,
      lifecycle: this.#lifecycle,
      stepDown: (reason, job) => this.#stepDown(reason, job),
      readLog: (job, segment) => this.#term?.readLog(job, segment),
      deleteJob: ({ job, segment }) => void this.#deleteJob(job, segment),
    });
  }

  #stepDown(reason: string, job?: JobId): void {
    this.#opened.log.warn({ reason, ...(job === undefined ? {} : { job }) }, "stepping down");
    this.#leadership?.stepDown(reason);
  }

  /** The record goes first: a leader that comes between finds an unused segment and sweeps it. */
  async #deleteJob(job: JobId, segment: SegmentId): Promise<void> {
    const term = this.#term;
    if (term === undefined) return;
    try {
      if (!(await this.#jobRecords.delete(job, term.signal))) {
        // J1: who wrote it meanwhile uses its log.
        if (!term.signal.aborted) this.#stepDown(`another leader has written job ${job}`, job);
        return;
      }
      this.#indexes.forget(job, segment);
      this.#bodies.forget(job);
      this.#opened.tracing.forget(job);
      await this.#segments.jobDeleted(job, segment);
      await term.jobDeleted(job, segment);
    } catch (error) {
      this.#opened.log.warn({ err: error, job }, "a deleted job's log could not be removed yet");
    }
  }

  #newFetchServer(): FetchServer {
    const { log, data } = this.#opened;
    return new FetchServer({
      nats: data.nats,
      keys: this.#keys,
      bundles: this.#bundles,
      bodies: this.#bodies,
      indexes: this.#indexes,
      log,
      ...fetchedJobs(this.#loop, this.#changes),
      onMalformed: () => this.#metrics.malformed("fetch"),
      onServed: (bytes) => this.#metrics.count("fetched", bytes),
    });
  }

  #addServices(): void {
    const { log, data } = this.#opened;
    const parts: ControlParts = {
      state: this.#loop.state,
      enqueue: (event) => this.#loop.enqueue(event),
      asks: this.#asks,
      changes: this.#changes,
      keys: this.#keys,
      data,
      segments: this.#segments,
      jobRecords: this.#jobRecords,
      writer: this.#writer,
      bodies: this.#bodies,
      bundles: this.#bundles,
      indexes: this.#indexes,
      links: this.#links,
      metrics: this.#metrics,
      log,
      coordinators: () => this.#coordinators.all,
      mustLead: () => this.#mustLead(),
      openSegment: (id) => this.#term?.openSegment(id),
      positions: new LogPositions(data),
      readLogs: () => this.#term?.readLogs ?? 0,
    };
    const replication = replicationReader(data, this.#opened.replicas);
    const shared = { coordinators: this.#coordinators, replication };
    const facts = { cluster: this.#cluster, version, startedAt: Date.now(), ...shared };
    this.#server.add("JobService", jobHandlers(parts));
    this.#server.add("NodeService", nodeHandlers(parts));
    this.#server.add("ClusterService", clusterHandlers(parts, facts));
    this.#server.add("AgentService", this.#links.handlers());
  }

  #newMetrics(): Metrics {
    return new Metrics({
      version,
      state: () => this.#loop.state,
      storage: () => this.#segments.usage,
      spans: () => this.#opened.tracing.counts,
      gauges: gaugesOf({
        state: () => this.#loop.state,
        agents: () => this.#links.count,
        backlog: () => this.#loop.backlog,
        forwarded: () => this.#coordinators.forwarder.count,
        readers: () => this.#indexes.count,
      }),
    });
  }
}
