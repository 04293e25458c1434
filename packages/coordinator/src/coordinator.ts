/**
 * A coordinator: its connection, its servers, and its terms as leader, wired together. Decisions are the core's;
 * this file only says who talks to whom.
 */
import { createHash } from "node:crypto";
import type { SegmentId } from "@everycore/protocol";
import { EverycoreError, limits } from "@everycore/protocol";
import type { Logger } from "pino";
import { Asks } from "./asks.ts";
import { Changes } from "./changes.ts";
import type { CoordinatorConfig } from "./config.ts";
import { splitAddress } from "./config.ts";
import { clusterHandlers } from "./control/cluster.ts";
import { jobHandlers } from "./control/jobs.ts";
import { Links } from "./control/links.ts";
import { nodeHandlers } from "./control/nodes.ts";
import type { ControlParts } from "./control/parts.ts";
import { ControlServer } from "./control/server.ts";
import { Bodies } from "./data/bodies.ts";
import { openBuckets } from "./data/buckets.ts";
import { Bundles } from "./data/bundles.ts";
import { openData } from "./data/connection.ts";
import type { FetchJob } from "./data/fetch.ts";
import { FetchServer } from "./data/fetch.ts";
import { JobIndexes } from "./data/job-index.ts";
import { JobRecords } from "./data/job-records.ts";
import { clusterKey, keysOf } from "./data/keys.ts";
import { KnownNodes } from "./data/known-nodes.ts";
import { Leadership } from "./data/leader.ts";
import { LeaseSender } from "./data/lease-sender.ts";
import { LogWriter } from "./data/log-writer.ts";
import { Segments } from "./data/segments.ts";
import { jobKey, performer } from "./effects.ts";
import { serveHttp } from "./http.ts";
import { Loop } from "./loop.ts";
import { Metrics } from "./metrics.ts";
import { Term } from "./term.ts";

const version = "0.1.0";
/** A fetch waits so long for the reader's fold. */
const catchUpMs = 2_000;

export interface RunningCoordinator extends AsyncDisposable {
  readonly address: string;
  readonly http: string;
}

export async function startCoordinator(config: CoordinatorConfig, log: Logger): Promise<RunningCoordinator> {
  const data = await openData(config.nats);
  try {
    return await start(config, log, data);
  } catch (error) {
    await data.nats.close();
    throw error;
  }
}

async function start(
  config: CoordinatorConfig,
  log: Logger,
  data: Awaited<ReturnType<typeof openData>>,
): Promise<RunningCoordinator> {
  const startedAt = Date.now();
  const buckets = await openBuckets(data);
  const key = await clusterKey(buckets.meta);
  const keys = keysOf(key);
  const cluster = createHash("sha256").update("cluster name").update(key).digest("hex").slice(0, 12);
  const stopping = new AbortController();
  const never = AbortSignal.abort();
  let term: Term | undefined;

  const asks = new Asks();
  const changes = new Changes();
  const bodies = new Bodies(data);
  const jobRecords = new JobRecords(buckets.jobs, log);
  const knownNodes = new KnownNodes(buckets.nodes, log);
  const loop: Loop = new Loop({
    keys,
    perform: (effect) => perform(effect),
    onBug: (error, event) => {
      log.error({ err: error, event: event.kind }, "the core failed: taking over anew from records");
      leadership.stepDown("the core failed");
    },
  });
  const { state } = loop;
  const enqueue = loop.enqueue.bind(loop);
  const metrics = new Metrics(version, {
    leading: () => (state.leading ? 1 : 0),
    jobs_active: () => state.active.size,
    jobs: () => state.jobs.size,
    agents: () => links.count,
    events_waiting: () => loop.backlog,
    log_segments: () => segments.usage.count,
    log_bytes: () => segments.usage.bytes,
    job_readers: () => indexes.count,
  });
  const onMalformed = (): void => metrics.malformed("log");
  const segments = new Segments({
    jsm: data.jsm,
    log,
    onLevel: (level) => enqueue({ kind: "storageLevel", level }),
    isActive: () => state.active.size > 0,
  });
  const writer = new LogWriter({ data, onFull: () => segments.pollSoon() });
  const indexes = new JobIndexes({
    data,
    verify: (job, grant) => keys.verify(job, grant),
    onMalformed,
    onChange: (job) => changes.touch(jobKey(job)),
  });
  const isUsed = (name: string): boolean => {
    for (const job of state.jobs.values()) if (`${job.user}/${job.spec.task.bundle ?? ""}` === name) return true;
    return false;
  };
  const bundles = new Bundles(buckets.blobs, isUsed);
  const mustLead = (): void => {
    if (term?.isOpen === true) return;
    throw new EverycoreError("no-leader", "this coordinator does not lead at the moment", { hint: "try again in a moment" });
  };
  const links = new Links({
    enqueue,
    log,
    metrics,
    agentNats: config.agentNats,
    cluster,
    epoch: () => {
      mustLead();
      return state.epoch;
    },
  });
  const leases = new LeaseSender({
    nats: data.nats,
    bodies,
    log,
    onSent: () => metrics.count("leases"),
    onMalformed: () => metrics.malformed("lease"),
  });

  const perform = performer({
    state: () => state,
    enqueue,
    term: () => term?.signal ?? never,
    jobRecords,
    knownNodes,
    writer,
    leases,
    links,
    asks,
    changes,
    stepDown: (reason) => {
      log.warn({ reason }, "stepping down");
      leadership.stepDown(reason);
    },
    deleteJob: ({ job, segment }) => {
      const current = term;
      if (current === undefined) return;
      // The record goes first: a leader that comes between finds an unused segment and sweeps it.
      void jobRecords
        .delete(job, current.signal)
        .then(() => segments.jobDeleted(job, segment))
        .then(() => (segments.has(segment) ? undefined : current.closeSegment(segment)))
        .catch((error: unknown) => log.warn({ err: error, job }, "a deleted job's log could not be removed yet"));
    },
  });

  const parts: ControlParts = {
    state,
    enqueue,
    asks,
    changes,
    keys,
    data,
    segments,
    writer,
    bodies,
    bundles,
    indexes,
    links,
    metrics,
    log,
    mustLead,
    openSegment: (id) => term?.openSegment(id as SegmentId), // segments.ts made it
  };
  new FetchServer({
    nats: data.nats,
    keys,
    bundles,
    bodies,
    indexes,
    log,
    jobOf: (id): FetchJob | undefined => {
      const job = state.jobs.get(id);
      if (job === undefined) return undefined;
      return { user: job.user, spec: job.spec, segment: job.segment, total: job.fold.total, seq: job.fold.seq };
    },
    caughtUp: async (id, isReached) => {
      const late = AbortSignal.timeout(catchUpMs);
      using following = changes.follow(jobKey(id), late);
      while (!isReached() && !late.aborted) await following.changed(following.version());
      return isReached();
    },
    onMalformed: () => metrics.malformed("fetch"),
    onServed: (bytes) => metrics.count("fetched", bytes),
  });

  const server = new ControlServer({ secret: config.secret, log, metrics });
  const facts = { cluster, version, startedAt, leader: () => leadership.current() };
  server.add("JobService", jobHandlers(parts));
  server.add("NodeService", nodeHandlers(parts));
  server.add("ClusterService", clusterHandlers(parts, facts));
  server.add("AgentService", links.handlers());
  if (config.insecureNetwork) log.warn("listening WITHOUT TLS beyond loopback may be allowed: everyone on this network can read all traffic");
  const port = await server.listen(config.listen);
  const address = config.advertise ?? `${splitAddress(config.listen).host}:${port}`;
  const http = await serveHttp({
    listen: config.httpListen,
    registry: metrics.registry,
    notReady: () => (data.nats.isClosed() ? "the connection to NATS is closed" : ""),
  });

  // Ready: it leads and knows all jobs, or another leads.
  const tried = Promise.withResolvers<void>();
  const leadership: Leadership = new Leadership({
    nats: data.nats,
    leader: buckets.leader,
    meta: buckets.meta,
    address,
    log,
    signal: stopping.signal,
    tried: () => tried.resolve(),
    lead: async (epoch, signal) => {
      term = new Term({ data, loop, jobRecords, knownNodes, segments, metrics, log }, epoch, signal);
      try {
        await term.run(() => tried.resolve());
      } finally {
        term = undefined;
        asks.rejectAll();
        links.closeAll(new EverycoreError("no-leader", "this coordinator no longer leads"));
        changes.touchAll();
        await loop.drained;
      }
    },
  });
  const campaigning = leadership.run();
  const watching = watchConnection(data.nats.status(), () => {
    metrics.count("reconnects");
    term?.restartTails();
    indexes.restart();
    segments.pollSoon();
  });
  await tried.promise;
  log.info({ address, http: http.address, cluster, bytesPerPull: limits.pullBytes }, "coordinator ready");
  return {
    address,
    http: http.address,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await campaigning;
      await server.close();
      await http[Symbol.asyncDispose]();
      await indexes.close();
      await data.nats.close();
      await watching;
    },
  };
}

async function watchConnection(
  statuses: AsyncIterable<{ readonly type: string }>,
  onReconnect: () => void,
): Promise<void> {
  for await (const { type } of statuses) if (type === "reconnect") onReconnect();
}
