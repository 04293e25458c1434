/**
 * The agent's loop: world -> events -> step -> effects. Events queue up and run to completion; the shell decides
 * nothing. Owns the connection, the link, the workers and their timers; `stop` ends all of them.
 */
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Logger } from "pino";
import type { NodeId } from "@everycore/protocol";
import { subjects, times } from "@everycore/protocol";
import type { AgentConfig } from "./config.ts";
import { isAllowed } from "./config.ts";
import type { LooseMessage } from "./control/link.ts";
import { Link } from "./control/link.ts";
import type { FromLeader, WelcomeFacts } from "./control/link-messages.ts";
import { parseToAgent } from "./control/link-messages.ts";
import type { NodeFacts, RuntimeFacts } from "./control/agent-messages.ts";
import { goodbye, heartbeat, hello, output, runtimeNames, spoken } from "./control/agent-messages.ts";
import type { AgentEvent, AgentState, Effect } from "./core/index.ts";
import { newAgent, step } from "./core/index.ts";
import { Inputs } from "./data/inputs.ts";
import { LeaseDesk } from "./data/lease-desk.ts";
import { NatsHome } from "./data/nats.ts";
import { Publisher } from "./data/publisher.ts";
import { DiskWatch } from "./machine/disk-watch.ts";
import { findOnPath, isOutOfSpace, machineIdOf, memoryBytesOf } from "./machine/facts.ts";
import { type ClaimedSlots, claimSlots } from "./machine/neighbours.ts";
import { bootIdOf } from "./machine/processes.ts";
import { type StateDir, openStateDir } from "./machine/state-dir.ts";
import { type Leftovers, collectLeftovers, publishLeftovers } from "./recovery.ts";
import { OutputStore } from "./slots/output-store.ts";
import { WorkerPool } from "./slots/worker-pool.ts";
import type { WorkerCommand } from "./slots/worker-process.ts";
import type { SliceTracing } from "./tracing.ts";

export interface AgentParts {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly runtimes: readonly RuntimeFacts[];
  /** How to start a worker of one of `runtimeNames`. */
  readonly command: (runtime: string, dir: string) => WorkerCommand;
  readonly version: string;
  readonly tracing: SliceTracing;
}

/** While slices run: overruns and item timeouts are looked for. Idle agents have no such timer. */
const tickMs = 50;
const memoryWatchMs = 500;
/** A former agent's files wait so long for NATS before the hello; then they are published after it. */
const recoverWithinMs = 5_000;

export class Agent {
  readonly node: NodeId;
  readonly slots: number;
  readonly state: AgentState;
  readonly incarnation = randomBytes(8).toString("hex");
  /** Resolves with the first welcome. */
  readonly welcomed: Promise<void>;
  /** Resolves when it is drained; rejects when its leader refuses it for good. */
  readonly ended: Promise<void>;
  readonly publisher: Publisher;
  readonly disk: DiskWatch;
  readonly #parts: AgentParts;
  readonly #facts: NodeFacts;
  readonly #nats: NatsHome;
  readonly #stateDir: StateDir;
  readonly #claimed: ClaimedSlots;
  readonly #pool: WorkerPool;
  readonly #inputs: Inputs;
  readonly #output: OutputStore;
  readonly #desk: LeaseDesk;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #queue: AgentEvent[] = [];
  readonly #leftovers: Leftovers;
  #running = false;
  #malformedOfLink = 0;
  #tick: NodeJS.Timeout | undefined;
  #link: Link | undefined;
  #linked = false;
  /** What a former agent left is in the log. */
  #published = false;
  #stopping = false;
  #onWelcome: () => void = () => {};
  #onEnd: () => void = () => {};
  #onRefused: (error: unknown) => void = () => {};

  constructor(parts: AgentParts) {
    const { config, runtimes } = parts;
    this.#claimed = claimSlots({ flag: config.slots });
    const { slots, reason, warning } = this.#claimed;
    this.slots = slots;
    this.#stateDir = openStateDir(config.dataDir, machineIdOf());
    this.node = this.#stateDir.node;
    const log = parts.log.child({ node: this.node });
    this.#parts = { ...parts, log };
    log[warning === undefined ? "info" : "warn"]({ slots, reason }, "slots");
    const { node, incarnation } = this;
    const { version } = parts;
    const { dataDir, labels, natsUrl } = config;
    this.#facts = { node, slots, slotsReason: reason, version, runtimes, labels, incarnation };
    this.#nats = new NatsHome({ dataDir, name: `everycore-agent-${node}`, url: natsUrl });
    const bootId = bootIdOf();
    const slotsDir = join(config.dataDir, "slots");
    this.#leftovers = collectLeftovers(slotsDir, { bootId, log });
    this.state = newAgent({ slots, runtimes: runtimes.flatMap(runtimeNames) });
    this.#output = new OutputStore(join(config.dataDir, "output"));
    this.#inputs = new Inputs({
      dir: join(config.dataDir, "cache"),
      connection: () => this.#nats.connection,
      isUsed: (bundle) => this.#desk.usesBundle(bundle),
    });
    this.#desk = new LeaseDesk({
      node: this.node,
      inputs: this.#inputs,
      log,
      emit: (event) => this.emit(event),
      isSeen: (lease) => this.state.seen.has(lease),
    });
    this.#pool = new WorkerPool({
      dir: slotsDir,
      bootId,
      setpriv: findOnPath("setpriv"),
      node: this.node,
      log,
      output: this.#output,
      tracing: parts.tracing,
      command: parts.command,
      now: () => performance.now(),
      emit: (event) => this.emit(event),
      memoryBytesMax: config.workerMemoryBytes ?? Math.floor(memoryBytesOf() / slots),
      machineBytes: memoryBytesOf(),
    });
    this.disk = new DiskWatch({
      dir: config.dataDir,
      bytesMax: config.stateBytesMax,
      known: { dir: this.#inputs.bundlesDir, bytes: () => this.#inputs.bundleBytes },
      // Whoever wants it again gets a bundle from the cluster; prints are gone, the oldest first.
      evict: (bytes) => void this.#output.evict(bytes - this.#inputs.evictBundles(bytes)),
      onLook: () => void this.#watchDisk(),
    });
    this.publisher = new Publisher({
      node: this.node,
      log,
      connection: () => this.#nats.connection,
      bytesOf: (run) => this.#pool.bytesOf(run),
    });
    this.welcomed = new Promise((resolve) => (this.#onWelcome = resolve));
    this.ended = new Promise((resolve, reject) => {
      this.#onEnd = resolve;
      this.#onRefused = reject;
    });
    this.ended.catch(() => {}); // whoever cares awaits it; a refusal is not a crash
  }

  /** Recovers what a former agent left, then opens the link. */
  async start(): Promise<void> {
    this.#published = await this.#recover();
    const { config, log } = this.#parts;
    this.#link = new Link({
      addresses: config.join,
      isAllowed: (address) => isAllowed(address, config),
      secret: config.secret,
      log,
      onOpen: () => this.emit({ kind: "linkUp", at: performance.now() }),
      onClose: () => {
        this.#linked = false;
        this.emit({ kind: "linkDown", at: performance.now() });
      },
      onMessage: (message) => this.#fromLeader(message),
      onRefused: (error) => this.#onRefused(error),
    });
    this.#link.open();
    this.#every(times.heartbeatMs, () => {
      if (!this.#watchDisk()) this.#beat();
    });
    this.disk.start();
    this.#every(memoryWatchMs, () => this.#pool.watchMemory());
    this.emit({ kind: "tick", at: performance.now() });
  }

  /** False: NATS could not be reached in time, or it is not known where it is. */
  async #recover(): Promise<boolean> {
    const left = this.#leftovers;
    const { length } = [...left.commits, ...left.strikes];
    if (length > 0) {
      this.#parts.log.info({ records: length }, "publishing what a former agent left");
      if (!(await this.#nats.returnTo())) return false;
    }
    return this.#publishLeftovers();
  }

  #publishLeftovers(): Promise<boolean> {
    const connection = (): NatsConnection | undefined => this.#nats.connection;
    const { log } = this.#parts;
    return publishLeftovers(this.#leftovers, { node: this.node, log, connection, withinMs: recoverWithinMs });
  }

  /** Callbacks only enqueue; one loop performs. */
  emit(event: AgentEvent): void {
    if (this.#stopping) return; // what dies now we have ended ourselves
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        for (const effect of step(this.state, next)) this.#perform(effect);
        if (next.kind === "workerDied") this.#pool.retire(next.worker);
      }
    } finally {
      this.#running = false;
    }
    this.#scheduleTick();
  }

  /** A timer only while something runs or waits; never per item. */
  #scheduleTick(): void {
    if (this.#tick !== undefined || this.#stopping) return;
    const { state } = this;
    let wait: number | undefined;
    const within = (ms: number): void => void (wait = Math.min(wait ?? ms, ms));
    for (const worker of state.workers.values()) if (worker.slices.length > 0) within(tickMs);
    for (const job of state.jobs.values()) {
      if (job.waiting.length > 0) within(tickMs);
      if (job.task.itemTimeoutMs !== undefined && job.leases.size > 0)
        within(Math.max(5, Math.min(job.task.itemTimeoutMs / 10, 100)));
    }
    if (state.drain === "draining") within(tickMs);
    if (state.spareAt !== undefined) within(Math.max(1, state.spareAt - performance.now()));
    if (wait === undefined) return;
    this.#tick = setTimeout(() => {
      this.#tick = undefined;
      this.#pool.lookAll();
      this.emit({ kind: "tick", at: performance.now() });
    }, wait);
  }

  #every(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
      if (!this.#stopping) this.#every(ms, run);
    }, ms);
    this.#timers.add(timer);
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case "startWorker":
        return this.#startWorker(effect);
      case "sendTask": {
        const task = this.#desk.task(effect.job);
        if (task === undefined) return;
        return this.#pool.sendTask(
          effect,
          task,
          task.bundle === undefined ? undefined : this.#inputs.bundleDir(task.bundle),
        );
      }
      case "sendSlice": {
        const message = this.#desk.message(effect.lease);
        if (message !== undefined) this.#pool.sendSlice(effect, message, this.#inputs.inputsOf(effect.lease));
        return;
      }
      case "setLimit":
        return this.#pool.setLimit(effect);
      case "readCursor":
        return this.#pool.readCursor(effect);
      case "killGroup":
        return this.#pool.kill(effect);
      case "appendTimeout":
        return this.#pool.appendTimeout(effect);
      case "freeOutcomes":
        return this.#pool.free(effect.runs);
      case "drained":
        this.#link?.send(goodbye(this.slots, this.#leftovers.acknowledged, effect.acknowledged));
        return this.#onEnd();
      default:
        return this.#performOutside(effect);
    }
  }

  /** Without room for its files no worker starts: the disk is full, and neither job nor item is to blame. */
  #startWorker(effect: Extract<Effect, { kind: "startWorker" }>): void {
    try {
      this.#pool.start(effect);
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      const at = performance.now();
      const detail = { reason: "the node's disk is full" };
      this.emit({ kind: "diskLevel", at, level: "full" }); // the next heartbeat looks again
      this.emit({ kind: "workerDied", at, worker: effect.worker, phase: "none", sights: [], detail });
    }
  }

  #performOutside(
    effect: Exclude<
      Effect,
      {
        kind:
          | "startWorker"
          | "sendTask"
          | "sendSlice"
          | "setLimit"
          | "readCursor"
          | "killGroup"
          | "appendTimeout"
          | "freeOutcomes"
          | "drained";
      }
    >,
  ): void {
    switch (effect.kind) {
      case "answerLease":
        return this.#desk.answer(effect.ask, effect.reply);
      case "fetchInput":
        return this.#desk.fetch(effect.job, effect.lease);
      case "forgetLease":
        return this.#desk.forget(effect.lease);
      case "publishCommit":
        this.#acknowledged(this.publisher.commit(effect.segment, effect.record, effect.runs), (seq) => ({
          kind: "commitAcked",
          at: performance.now(),
          commit: effect.commit,
          seq,
        }));
        return;
      case "publishStrike":
        this.#acknowledged(this.publisher.strike(effect.segment, effect.record), (seq) => ({
          kind: "strikeAcked",
          at: performance.now(),
          strike: effect.strike,
          seq,
        }));
        return;
      case "dropJob":
        this.#desk.forgetTask(effect.job);
        return this.#output.end(effect.job);
      case "closeLink":
        this.#parts.log.warn({ reason: effect.reason }, "link closed");
        return this.#link?.drop();
      case "hello": {
        const { acknowledged: recovered, isComplete } = this.#leftovers;
        // A leader that leases to us has taken our report, and struck what had run: the next one need not.
        const filesRecovered = this.#published && (isComplete || this.state.accepted > 0);
        const now = { filesRecovered, spoolBytes: this.state.spoolBytes, recovered };
        return void this.#link?.send(hello(this.#facts, effect, now));
      }
      default:
        return this.#say(spoken(effect));
    }
  }

  #acknowledged(published: Promise<number | undefined>, event: (seq: number) => AgentEvent): void {
    void published.then((seq) => seq === undefined || this.emit(event(seq)));
  }

  /** Without a link nothing is said: the next hello reports everything that lasts. */
  #say(message: LooseMessage): void {
    if (this.#linked) this.#link?.send(message);
  }

  #beat(): void {
    this.#say(heartbeat(this.state, performance.now(), this.disk));
  }

  /** True: it has changed, and the leader was told at once. */
  #watchDisk(): boolean {
    const { level, usedBytes, bytesMax } = this.disk;
    if (level === this.state.disk) return false;
    this.#parts.log.warn({ room: level, usedBytes, bytesMax }, "room for files");
    this.emit({ kind: "diskLevel", at: performance.now(), level });
    this.#beat();
    return true;
  }

  #fromLeader(message: LooseMessage): void {
    let parsed: FromLeader | undefined;
    try {
      parsed = parseToAgent(message, performance.now());
    } catch (error) {
      this.#malformedOfLink += 1;
      return this.#parts.log.warn({ reason: String(error) }, "malformed message of the leader ignored");
    }
    if (parsed === undefined) return;
    if ("outputAsk" in parsed) {
      const { job, ask } = parsed.outputAsk;
      return output(this.#output, job, ask).forEach((piece) => this.#say(piece));
    }
    if (parsed.welcome !== undefined) this.#welcome(parsed.welcome, parsed.event);
    else this.emit(parsed.event);
  }

  #welcome(welcome: WelcomeFacts, event: AgentEvent): void {
    this.#joinNats(welcome).then(
      () => {
        this.#linked = true;
        this.emit(event);
        this.#onWelcome();
      },
      (error: unknown) => {
        this.#parts.log.warn({ reason: String(error) }, "NATS cannot be reached");
        this.#link?.drop();
      },
    );
  }

  async #joinNats(welcome: WelcomeFacts): Promise<void> {
    const { cluster: _cluster, ...facts } = welcome;
    const onMessage = (message: Msg): void => this.#desk.arrived(message);
    await this.#nats.join(facts, { subject: subjects.lease(this.node), onMessage });
    if (!this.#published) this.#published = await this.#publishLeftovers();
  }

  /** Messages that were refused as malformed, by where they came in. */
  get malformed(): { lease: number; link: number } {
    return { lease: this.#desk.malformed, link: this.#malformedOfLink };
  }

  /** What came over the network for leases, since the start. */
  get fetched(): { readonly bundles: number; readonly bytes: number } {
    return this.#inputs.fetched;
  }

  get isReady(): boolean {
    return this.#linked;
  }

  /** Stops taking work; `ended` resolves when all is finished or given back, at latest after the deadline. */
  drain(deadlineMs: number): void {
    this.emit({ kind: "drainAsked", at: performance.now(), deadlineMs });
  }

  /** Ends workers, timers and connections. Outcomes that the log has not acknowledged stay in their files. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#pool.end();
    clearTimeout(this.#tick);
    for (const timer of this.#timers) clearTimeout(timer);
    this.publisher.close();
    this.#desk.close();
    await this.disk.close();
    await this.#link?.close();
    await this.#nats.close();
    this.#stateDir.release();
    this.#claimed.release();
  }
}
