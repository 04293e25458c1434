/**
 * Which host serves programs must not show in a job's outcomes (P6): odd programs and items go through both, and their
 * records are compared byte by byte, errors field by field. Then what only one of them could do wrong.
 */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, encode, limits, packEntries } from "@everycore/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { until } from "../../../../test/support/until.ts";
import { execInterpreter } from "../../src/runtimes/exec.ts";
import { errorOf, newFolder, startHost } from "./host.ts";

type ExecHost = "node" | "python";
const hosts = ["node", "python"] as const;

interface Case {
  readonly argv: readonly string[];
  /** Texts are lines. Without any: one item of a range. */
  readonly items?: readonly (string | Buffer)[];
  readonly codec?: number;
  readonly task?: object;
}

const sh = (script: string): readonly string[] => ["sh", "-c", script, "{}"];
const json = (...texts: string[]): Pick<Case, "items" | "codec"> => ({ items: texts, codec: codecs.json });
const KB = 1024;

/** A folder with programs to be found, and not to be found, on PATH. */
function folderOfPrograms(): string {
  const folder = newFolder();
  const put = (path: string, text: string, mode: number): void => {
    writeFileSync(join(folder, path), text);
    chmodSync(join(folder, path), mode);
  };
  for (const name of ["first", "second"]) mkdirSync(join(folder, name));
  put("first/both", "not to be run\n", 0o644);
  put("second/both", "#!/bin/sh\necho second both\n", 0o755);
  put("second/script", 'echo "script without #! $0 $1"\n', 0o755);
  put("second/closed", "#!/bin/sh\n", 0o644);
  put("second/lost", "#!/no/such/interpreter\n", 0o755);
  return folder;
}

const cases: Readonly<Record<string, (folder: string) => Case>> = {
  "prints on both": () => ({ argv: sh('echo "out $0"; echo "err $0" >&2'), items: ["a", "b"] }),
  "prints bytes that are no text": () => ({ argv: ["printf", "\\0\\377\\n{}"], items: ["x"] }),
  "exit codes": () => ({ argv: sh("echo $0; echo why >&2; exit $0"), items: ["0", "1", "77", "255"] }),
  signals: () => ({
    argv: sh("echo so far; kill -$0 $$"),
    items: ["HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "USR1", "TERM", "XFSZ"],
  }),
  "output at its limit and beyond": () => ({
    argv: ["head", "-c", "{}", "/dev/zero"],
    items: [String(limits.execOutputBytesMax), String(limits.execOutputBytesMax + 1), "40000000"],
  }),
  "a large stderr, a character cut at its front": () => ({
    // Lines of 41 bytes: the limit falls on each of the four bytes of a duck in turn.
    argv: sh(
      'i=100; while [ $i -lt 300 ]; do echo "$i 🦆🦆🦆🦆🦆🦆🦆🦆🦆" >&2; i=$((i+1)); done; printf %s "$0" >&2; exit 3',
    ),
    items: ["", "x", "xy", "xyz"],
  }),
  "stderr that is no text": () => ({ argv: sh("printf 'a\\377\\303b\\360\\237' >&2; exit 1") }),
  "much on both at once": () => ({
    argv: sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; exit 2"),
  }),
  "both closed long before the end": () => ({ argv: sh("echo x; exec >&- 2>&-; sleep 0.1; exit 4") }),
  "a grandchild keeps the pipe open": () => ({ argv: sh("(sleep 0.2; echo late) & echo early") }),
  "unicode, spaces, quotes, line ends": () => ({
    argv: ["printf", "%s|", "{}", "{/}", "{.}", "{#}", "<{}{.}>"],
    items: ["naïve 🦆.tar.gz", "/a b/c.d/e", "/a/b/", "/", "//", ".rc", "a.b/c", "'\"$(x)\n{}", "{#}", "a."],
  }),
  "bytes that are no UTF-8": () => ({
    argv: ["printf", "%s|", "{}"],
    items: [Buffer.from([0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82]), Buffer.from([0xed, 0xa0, 0x80])],
  }),
  "bytes as items": () => ({
    argv: ["printf", "%s|"],
    items: [Buffer.from("ä\xff", "latin1")],
    codec: codecs.raw,
  }),
  "an empty item": () => ({ argv: ["printf", "<%s>", "{}"], items: ["", "x"] }),
  "an empty item as the program": () => ({ argv: ["{}"], items: [""] }),
  "an item of 100 KB, one that is too long, one with a null byte": () => ({
    argv: ["printf", "%s", "{}"],
    items: ["x".repeat(100 * KB), "y".repeat(200 * KB), "a\0b", "z"],
  }),
  "programs named by the item": (folder) => ({
    argv: ["{}"],
    items: [
      "no-such",
      "closed",
      "lost",
      "/",
      "./no/such",
      "script",
      "both",
      "x".repeat(300),
      "y".repeat(9_000),
    ],
    task: { env: { PATH: `${folder}/none:${folder}/first:${folder}/second:/bin:/usr/bin` } },
  }),
  "variables beside the bare environment": () => ({
    argv: ["sh", "-c", 'echo "$WHO in $HOME"; command -v env > /dev/null && echo found'],
    items: ["x"],
    task: { addEnv: { WHO: "a=ä me", HOME: "/there" } },
  }),
  "no PATH at all": () => ({ argv: ["{}", "x"], items: ["echo", "no-such"], task: { env: {} } }),
  "JSON as JavaScript writes it": () => ({
    argv: ["printf", "%s|"],
    ...json(
      '"text \\ud83e\\udd86 \\ud800"',
      "[1.0, 1e21, 1e20, 123456789012345678901234567890, 9007199254740993, 1E-7, 0.000001, -0, -0.0, 1.50, 1e400]",
      '{"b": 1, "10": 2, "9": [], "01": {}, "a": null, "b": true, "4294967295": 0, "-1": 0}',
      '["\\u0000\\u001f\\u007f\\u2028\\"\\\\/\\n\\ud800", "ä"]',
      "7",
      "null",
      "true",
      "12345678901234567890",
      " 5e-324 ",
      "1.7976931348623157e308",
      "0.1",
      "123456.789e3",
    ),
  }),
  "msgpack values": () => ({
    argv: ["printf", "%s|"],
    items: [
      1,
      -1,
      2 ** 40,
      2n ** 60n,
      1.5,
      Number.NaN,
      "ä",
      Buffer.from("b"),
      [null, { a: [Buffer.from("b")] }],
    ].map((value) => encode(value)),
    codec: codecs.msgpack,
  }),
  "environment, folder, standard input, descriptors, signals": () => ({
    // Of signals the first 31: glibc's posix_spawn ignores the two that it keeps for itself, 32 and 33.
    argv: sh(
      "env | sort; pwd; readlink /proc/self/fd/0; ls /proc/self/fd; " +
        'grep -E "^Sig(Blk|Ign)" /proc/self/status | sed "s/[0-9a-f]\\{8\\}\\(.*\\)/\\1/; s/8\\(.......\\)$/0\\1/"',
    ),
    task: { cwd: "/usr", env: { PATH: process.env["PATH"], ODD: "a=ä\n🦆", EVERYCORE_WORKER: "no" } },
  }),
};

/** Less than a pipe holds. */
const printsCompared = 32_000;

async function recordsOf(execHost: ExecHost, { argv, items, codec = codecs.utf8, task }: Case) {
  const host = await startHost("exec", { execHost });
  expect(await host.load({ argv, ...task })).toEqual({ t: "loaded" });
  const block = items?.map((item) => (typeof item === "string" ? Buffer.from(item) : item));
  const more = block === undefined ? {} : { codec, block: packEntries(block) };
  const records = await host.run(1, 0, block?.length ?? 1, more);
  await host.stop();
  return {
    records: records.map(({ index, status, codec: of, payload }) => ({
      index,
      status,
      codec: of,
      payload: of === codecs.error ? errorOf({ payload } as never) : payload.toString("latin1"),
    })),
    stderr: await host.stderr,
  };
}

test.each(Object.keys(cases))("%s: the same from both", async (name) => {
  const each = cases[name]!(folderOfPrograms());
  const [node, python] = await Promise.all(hosts.map((execHost) => recordsOf(execHost, each)));
  expect(node!.records).toHaveLength(each.items?.length ?? 1);
  expect(python!.records).toEqual(node!.records);
  // A host that is stopped at once may not get rid of megabytes of prints; what it got rid of is the same.
  const both = Math.min(python!.stderr.length, node!.stderr.length, printsCompared);
  expect(both).toBe(Math.min(printsCompared, Math.max(python!.stderr.length, node!.stderr.length)));
  expect(python!.stderr.slice(0, both)).toBe(node!.stderr.slice(0, both));
});

test.each([
  ["a program that is nowhere", { argv: ["no-such-program", "{}"] }],
  ["a file that may not be run", { argv: ["/etc/passwd"] }],
  ["no program", { argv: [] }],
  ["an empty name", { argv: ["", "{}"] }],
  ["a folder that is missing", { argv: ["true"], cwd: "/no/such/folder" }],
  ["a folder that is none", { argv: ["true"], cwd: "/etc/passwd" }],
])("%s is the same refusal of the job", async (_, task) => {
  const [node, python] = await Promise.all(
    hosts.map(async (execHost) => {
      const host = await startHost("exec", { execHost });
      const answer = await host.load(task);
      expect(answer["t"]).toBe("initFailed");
      const { kind, name, message } = errorOf(answer);
      return { kind, name, message };
    }),
  );
  expect(python).toEqual(node);
  expect(node!.name).toBe("EverycoreError");
});

test("an item that is no JSON is its own error in both, and costs its neighbours nothing", async () => {
  for (const execHost of hosts) {
    const { records } = await recordsOf(execHost, { argv: ["echo"], ...json("1", "[", "NaN", "2") });
    expect(records.map(({ status }) => status)).toEqual([0, 1, 1, 0]);
  }
});

describe.each(hosts)("the host in %s", (execHost) => {
  const started = async (argv: readonly string[]) => {
    const host = await startHost("exec", { execHost });
    expect(await host.load({ argv })).toEqual({ t: "loaded" });
    return host;
  };

  test("programs stay in the group that the agent kills, at the host's priority", async () => {
    const host = await started(sh("read -r line < /proc/self/stat; set -- $line; echo $4 $5"));
    const text = (await host.run(1, 0, 1))[0]!.payload.toString();
    const [parent, group] = text.trim().split(" ").map(Number);
    const fields = readFileSync(`/proc/${parent}/stat`, "latin1").split(") ")[1]!.split(" ");
    expect(group).toBe(Number(fields[2]));
  });

  test("the CPU time of programs is counted", async () => {
    const host = await started(sh("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"));
    host.slice(1, 0, 1);
    const ended = await host.next();
    expect(ended["cpuMs"]).toBeGreaterThan(9); // the Node host counts in ticks of 10 ms
    expect(ended["cpuMs"]).toBeLessThan(60_000);
  });

  test("thousands of starts that fail cost no descriptor and no life", async () => {
    const host = await started(["{}"]);
    const texts = Array.from({ length: 1_500 }, (_, at) => Buffer.from(at % 2 === 0 ? "no-such" : "a\0b"));
    const block = packEntries([...texts, Buffer.from("true")]);
    const records = await host.run(1, 0, 1_501, { codec: codecs.utf8, block });
    expect(records.filter(({ status }) => status === 1)).toHaveLength(1_500);
    expect(records.at(-1)!.status).toBe(0);
    expect(readdirSync(`/proc/${host.pid}/fd`).length).toBeLessThan(100);
  });

  test("a program that appears elsewhere on PATH is found there", async () => {
    const folder = folderOfPrograms();
    const host = await startHost("exec", { execHost });
    const env = { PATH: `${folder}/first:${folder}/second` };
    writeFileSync(join(folder, "first", "moves"), "#!/bin/sh\necho first\n", { mode: 0o755 });
    await host.load({ argv: ["moves"], env });
    expect((await host.run(1, 0, 1))[0]!.payload.toString()).toBe("first\n");
    rmSync(join(folder, "first", "moves"));
    writeFileSync(join(folder, "second", "moves"), "#!/bin/sh\necho second\n", { mode: 0o755 });
    expect((await host.run(2, 1, 2))[0]!.payload.toString()).toBe("second\n");
  });

  test("it ends with its agent, though its program goes on", async () => {
    const host = await started(sh("echo $$ > started; exec sleep 60"));
    host.slice(1, 0, 1);
    const file = join(host.dir, "scratch", "started");
    const pid = await until(() => Number(readOrNothing(file)) || undefined, {
      withinMs: 10_000,
      what: "the program to start",
    });
    onTestFinished(() => void process.kill(pid, "SIGKILL"));
    host.leave();
    expect((await host.exited)[0]).toBe(0);
  });

  test("a full disk ends the host with the exit that blames no item", async () => {
    const host = await started(["head", "-c", "{}", "/dev/zero"]);
    const block = packEntries([Buffer.from("100")]);
    host.slice(1, 0, 1, { file: "/dev/full", codec: codecs.utf8, block });
    expect((await host.exited)[0]).toBe(75);
  });
});

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

test("death by a real-time signal, which Node does not see, is an error where Python serves", async () => {
  const host = await startHost("exec", { execHost: "python" });
  await host.load({ argv: sh("kill -$0 $$") });
  const block = packEntries(["34", "36", "64"].map((number) => Buffer.from(number)));
  const records = await host.run(1, 0, 3, { codec: codecs.utf8, block });
  const names = ["SIGRTMIN", "SIGRTMIN+2", "SIGRTMAX"];
  expect(records.map((record) => errorOf(record).signal)).toEqual(names);
});

describe("the choice of the host", () => {
  const js = { name: "js", version: "24", path: "/node" } as const;
  const old = { name: "python", version: "3.10.1", path: "/python" } as const;
  const found = [js, old, { ...old, version: "3.12.0", path: "/newer" }];

  test("the first Python serves, without any Node, and an operator may say so", () => {
    expect(execInterpreter(found, "")).toBe(old);
    expect(execInterpreter([js], "")).toBeUndefined();
    expect(execInterpreter(found, "node")).toBeUndefined();
    expect(execInterpreter(found, "python")).toBe(old);
  });

  test("what cannot be is refused in a sentence", () => {
    expect(() => execInterpreter([js], "python")).toThrow(/no Python of 3\.10/);
    expect(() => execInterpreter(found, "perl")).toThrow(/python or node, not "perl"/);
  });
});
