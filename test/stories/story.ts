/**
 * Stories: text files of commands, each with the log that the leader's core is expected to write below it, in the
 * form of etcd-raft's data-driven tests. The core stands on its bench: puts and appends are performed at once.
 *
 *   command [arguments] [key=value ...]
 *   ----
 *   what the leader does, a line each
 *
 * A rewrite (EVERYCORE_REWRITE_STORIES=1) may be committed when every changed line is what DESIGN says.
 */
import type { Effect } from "@everycore/coordinator/core";
import type { CommitPart, LeaseReply, NodeRecord, Range } from "@everycore/protocol";
import { CoreBench, jobId, nodeId } from "../../packages/coordinator/test/support/core-bench.ts";

interface Block {
  /** Comment lines and blank lines before the command. */
  readonly before: string;
  readonly command: string;
  readonly expected: string;
}

/** Cuts a story into its blocks; what comes after the last one is kept as `tail`. */
export function parseStory(text: string): { blocks: Block[]; tail: string } {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  let before = "";
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]!;
    if (line.trim() === "" || line.startsWith("#")) {
      before += `${line}\n`;
      continue;
    }
    if (lines[at + 1] !== "----") throw new Error(`line ${at + 2}: "----" expected after "${line}"`);
    const expected: string[] = [];
    for (at += 2; at < lines.length && lines[at] !== ""; at += 1) expected.push(lines[at]!);
    blocks.push({ before, command: line, expected: expected.join("\n") });
    before = at < lines.length ? "\n" : "";
  }
  return { blocks, tail: before.replace(/\n$/, "") };
}

type Arguments = { readonly words: readonly string[]; readonly options: Readonly<Record<string, string>> };

function parseArguments(parts: readonly string[]): Arguments {
  const words = parts.filter((part) => !part.includes("="));
  const options = Object.fromEntries(
    parts.filter((part) => part.includes("=")).map((part) => part.split("=", 2) as [string, string]),
  );
  return { words, options };
}

/** `3` is one item, `3-5` are three. */
function rangeOf(text: string | undefined): Range {
  const [first, last] = (text ?? "").split("-").map(Number);
  if (first === undefined || Number.isNaN(first)) throw new Error(`not a range: ${text}`);
  return { start: first, end: (last ?? first) + 1 };
}

const MB = 2 ** 20;

const rangesText = (ranges: readonly Range[]): string =>
  ranges.map(({ start, end }) => (end - start === 1 ? `${start}` : `${start}-${end - 1}`)).join(",");

export class Story {
  readonly #bench = new CoreBench();
  readonly #names = new Map<string, string>();

  /** Performs a command; gives what the leader did. */
  run(command: string): string {
    const [name, ...rest] = command.trim().split(/\s+/);
    const act = this.#commands[name!];
    if (act === undefined) throw new Error(`no command "${name}"`);
    const effects = act(parseArguments(rest));
    if (typeof effects === "string") return effects;
    return effects.flatMap((effect) => this.#line(effect) ?? []).join("\n");
  }

  #job(name: string | undefined): ReturnType<typeof jobId> {
    const id = jobId(name!);
    this.#names.set(id, name!);
    return id;
  }

  #node(name: string | undefined): ReturnType<typeof nodeId> {
    const id = nodeId(name!);
    this.#names.set(id, name!);
    return id;
  }

  #name(id: string): string {
    return this.#names.get(id) ?? "?";
  }

  readonly #commands: Readonly<Record<string, (given: Arguments) => Effect[] | string>> = {
    // report a [slots=2] [machine=m] [restarted=yes | wiped=yes]: an agent says hello
    report: ({ words: [name], options }) => {
      this.#node(name);
      return this.#bench.report(name!, {
        slots: Number(options["slots"] ?? 2),
        ...(options["machine"] === undefined ? {} : { machine: options["machine"] }),
        restarted: options["restarted"] === "yes",
        wiped: options["wiped"] === "yes",
      });
    },
    // submit j items=N [block=N] [retries=N] [reduce=sum] [open=yes]
    submit: ({ words: [name], options }) => {
      this.#job(name);
      return this.#bench.submit(name!, {
        items: Number(options["items"]),
        block: Number(options["block"] ?? 0),
        task: {
          retries: Number(options["retries"] ?? 0),
          ...(options["reduce"] === undefined ? {} : { reduce: options["reduce"] }),
        },
        open: options["open"] === "yes",
      }).effects;
    },
    // accept a: it answers all leases that have arrived
    accept: ({ words: [name] }) => this.#bench.answer(name!),
    // refuse a full
    refuse: ({ words: [name, reason] }) =>
      this.#bench.answer(name!, () => ({ ok: false, reason, message: "" }) as LeaseReply),
    // unanswered a
    unanswered: ({ words: [name] }) => this.#bench.answer(name!, () => undefined),
    // commit a j 0-3 [value | error | timeout | again] [missing=0]
    commit: ({ words: [name, job, range, status], options }) =>
      this.#bench.commit(
        name!,
        this.#job(job),
        rangeOf(range),
        (status ?? "value") as CommitPart["status"],
        options["missing"] === undefined ? undefined : Number(options["missing"]),
      ),
    // crash a j 2 [limit=256]: its worker died while item 2 ran, of a memory limit of so many MB
    crash: ({ words: [name, job, index], options }) => {
      const { limit } = options;
      const limitBytes = Number(limit) * MB;
      const detail = { reason: "out of memory", limitBytes, peakBytes: limitBytes + MB };
      const more = limit === undefined ? undefined : detail;
      return this.#bench.strike(name!, this.#job(job), Number(index), "crash", more);
    },
    // give-back a j 4-7
    "give-back": ({ words: [name, job, range] }) =>
      this.#bench.giveBack(name!, this.#job(job), rangeOf(range)),
    // starving a 2
    starving: ({ words: [name, slots] }) =>
      this.#bench.feed({ kind: "starving", node: this.#node(name), slots: Number(slots) }),
    // starting a j 3: an announced slice asks to start
    starting: ({ words: [name, job, range] }) => {
      const of = rangeOf(range);
      const lease = this.#bench.leaseOf(name!, this.#job(job), of.start).id;
      return this.#bench.feed({
        kind: "sliceStarting",
        node: this.#node(name),
        job: this.#job(job),
        lease,
        range: of,
        ask: 1,
      });
    },
    // break a: its link breaks
    break: ({ words: [name] }) => this.#bench.breakLink(name!),
    // wait 5 [alive=a,b]: seconds pass; who is alive sends heartbeats
    wait: ({ words: [seconds], options }) => {
      const effects: Effect[] = [];
      const alive = (options["alive"] ?? "").split(",").filter((name) => name !== "");
      for (let left = Number(seconds) * 1_000; left > 0; left -= 1_000) {
        for (const name of alive)
          effects.push(
            ...this.#bench.feed({ kind: "nodeHeartbeat", node: this.#node(name), busy: 0, diskFull: false }),
          );
        effects.push(...this.#bench.tick(Math.min(1_000, left)));
      }
      return effects;
    },
    cancel: ({ words: [job] }) =>
      this.#bench.feed({
        kind: "cancelAsked",
        job: this.#job(job),
        message: "asked",
        ask: this.#bench.ask(),
      }),
    retry: ({ words: [job] }) =>
      this.#bench.feed({ kind: "retryAsked", job: this.#job(job), ask: this.#bench.ask() }),
    delete: ({ words: [job] }) =>
      this.#bench.feed({ kind: "deleteAsked", job: this.#job(job), ask: this.#bench.ask() }),
    drain: ({ words: [name] }) =>
      this.#bench.feed({ kind: "drainAsked", node: this.#node(name), ask: this.#bench.ask() }),
    drained: ({ words: [name] }) =>
      this.#bench.feed({ kind: "drained", node: this.#node(name), acknowledged: new Map() }),
    // storage pause | ok
    storage: ({ words: [level] }) =>
      this.#bench.feed({ kind: "storageLevel", level: level as "ok" | "pause" | "refuse" }),
    // lead: the leader dies, another takes over from records and log
    lead: () => this.#bench.lead(),
    // hold: from now on puts and appends wait; release [N]: the first N of them, or all, are performed
    hold: () => {
      this.#bench.isHeld = true;
      return [];
    },
    release: ({ words: [count] }) => {
      if (count !== undefined) return this.#bench.release(Number(count));
      this.#bench.isHeld = false;
      return this.#bench.release();
    },
    // repeat: the last record of the log is stored again
    repeat: () => this.#bench.append(this.#bench.log.at(-1)!.record),
    show: ({ words: [job] }) => this.#show(job),
  };

  #show(name: string | undefined): string {
    const job = this.#bench.job(this.#job(name));
    const { normal, announced, alone, awaiting, crashed } = job.queues;
    const lines = [`${name} ${job.state}${job.phase === "open" ? "" : ` (${job.phase})`}`];
    const counts = Object.entries(job.fold.counts()).filter(([, count]) => count > 0);
    if (counts.length > 0)
      lines.push(`  ended ${counts.map(([status, count]) => `${count} ${status}`).join(", ")}`);
    const queues = { normal, announced, alone, awaiting };
    for (const [queue, set] of Object.entries(queues)) {
      if (!set.isEmpty) lines.push(`  queued ${queue} ${rangesText(set.toRanges())}`);
    }
    if (crashed.size > 0) lines.push(`  queued crashed ${[...crashed.keys()].join(",")}`);
    for (const { grant, state, open } of job.leases.values())
      lines.push(`  leased ${this.#name(grant.node)} ${rangesText(open.toRanges())} ${state}`);
    return lines.join("\n");
  }

  /** One line for what a reader cares about; undefined for notices to watchers. */
  #line(effect: Effect): string | undefined {
    switch (effect.kind) {
      case "putJob": {
        const { record } = effect;
        const intent = record.intent === undefined ? "" : ` intent=${record.intent.kind}`;
        return `put ${this.#name(record.id)} ${record.state} reserved=${record.reserved} round=${record.round}${intent}`;
      }
      case "appendRecord":
        return this.#recordLine(effect);
      case "sendLease": {
        const { grant, mode, attempts, memoryBytes } = effect;
        const what = effect.partials ? "partials" : rangesText([grant]);
        const more = [
          ...(mode === "normal" ? [] : [mode]),
          ...(memoryBytes === undefined ? [] : [`memory=${memoryBytes / MB}`]),
          ...(grant.round === 0 ? [] : [`round=${grant.round}`]),
          ...(attempts.length === 0
            ? []
            : [`attempts=${attempts.map((run) => `${rangesText([run])}x${run.level}`).join(",")}`]),
        ];
        return [`lease ${this.#name(effect.node)} ${this.#name(effect.job)} ${what}`, ...more].join(" ");
      }
      case "answer": {
        const { answer } = effect;
        return answer.ok
          ? "answer ok"
          : `answer ${answer.code}: ${answer.message.replace(/[0-9a-f]{16,}/g, (id) => this.#name(id))}`;
      }
      case "confirmGaveBack":
        return `confirm ${this.#name(effect.node)} ${this.#name(effect.job)} ${rangesText(effect.ranges)}`;
      case "sendGiveBack":
        return `give-back? ${this.#name(effect.node)} ${this.#name(effect.job)}`;
      case "sendCancel":
        return `cancel ${this.#name(effect.node)} ${this.#name(effect.job)}`;
      case "sendJobEnded":
        return `ended ${this.#name(effect.node)} ${this.#name(effect.job)}`;
      case "dropLeases":
        return `drop ${this.#name(effect.node)} ${effect.leases.length} leases`;
      case "askLease":
        return `lease? ${this.#name(effect.node)} ${this.#name(effect.job)}`;
      case "mayStart":
        return `may-start ${this.#name(effect.node)}`;
      case "sendUndrain":
        return `undrain ${this.#name(effect.node)}`;
      case "sendDrain":
        return `drain ${this.#name(effect.node)}`;
      case "closeLink":
        return `close-link ${this.#name(effect.node)}`;
      case "putNode":
        return `put-node ${this.#name(effect.record.id)}${standingText(effect.record)}`;
      case "deleteNode":
        return `delete-node ${this.#name(effect.node)}`;
      case "standingChanged":
        return `${effect.isQuarantined ? "quarantine" : "let-out"} ${this.#name(effect.node)}: ${effect.reason}`;
      case "readLog":
        return `read-log ${this.#name(effect.job)}`;
      case "deleteJob":
        return `delete ${this.#name(effect.job)}`;
      case "stepDown":
        return `step-down: ${effect.reason}`;
      case "compare":
        return `compare ${this.#name(effect.job)} ${effect.index}`;
      case "itemDiffers": {
        const { index, first, second, how } = effect.item;
        return `differs ${this.#name(effect.job)} ${index} ${how}: ${this.#name(first)} ${this.#name(second)}`;
      }
      case "saveCheckpoint":
        return `checkpoint ${this.#name(effect.checkpoint.job)}`;
      case "dropCheckpoint":
        return `drop-checkpoint ${this.#name(effect.job)}`;
      case "jobChanged":
      case "nodeChanged":
        return undefined;
    }
  }

  #recordLine({ record }: Extract<Effect, { kind: "appendRecord" }>): string {
    const job = this.#name(record.job);
    switch (record.kind) {
      case "strike":
        return `append strike ${job} ${record.cause} ${rangesText(record.ranges)} on ${this.#name(record.lease.node)}`;
      case "seal":
        return `append seal ${job} ${record.status} ${rangesText(record.ranges)}: ${record.message}`;
      case "reopen":
        return `append reopen ${job} ${rangesText(record.ranges)} round=${record.round}`;
      case "fence":
        return `append fence ${job} epoch=${record.epoch}`;
      case "close":
        return `append close ${job} ${record.total}`;
    }
  }
}

const standingText = ({ draining, standing }: NodeRecord): string =>
  (draining ? " draining" : "") + (standing?.quarantine === undefined ? "" : " quarantined");
