/**
 * Programs of jobs that ship files or want some back, with both hosts: what stands in an item's folder, what returns
 * from it, and that no item and no try sees what another did there (K1-K4 of item-folder.ts).
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SlotRecord } from "@everycore/protocol";
import { codecs, decodeProgramValue, limits, outcomeStatus, packEntries } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { errorOf, newFolder, startHost } from "./host.ts";
import { canMount, mountSmall } from "./small-disk.ts";

const sh = (script: string): readonly string[] => ["sh", "-c", script, "{}"];
const items = (...texts: string[]) => ({
  codec: codecs.utf8,
  block: packEntries(texts.map((text) => Buffer.from(text))),
});

/** As the agent unpacks a bundle. */
function bundle(files: Readonly<Record<string, string>>, programs: readonly string[] = []): string {
  const dir = newFolder();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text, { mode: programs.includes(name) ? 0o700 : 0o600 });
  }
  return dir;
}

const valueOf = (record: SlotRecord | undefined) => {
  expect(record).toMatchObject({ status: outcomeStatus.value, codec: codecs.msgpack });
  const { stdout, files, executable } = decodeProgramValue(record!.payload);
  const texts = Object.entries(files).map(([name, bytes]) => [name, Buffer.from(bytes).toString("latin1")]);
  return { stdout: Buffer.from(stdout).toString(), files: Object.fromEntries(texts), executable };
};

describe.each(["node", "python"] as const)("the host in %s", (execHost) => {
  async function loaded(argv: readonly string[], more: object) {
    const host = await startHost("exec", { execHost });
    expect(await host.load({ argv, ...more })).toEqual({ t: "loaded" });
    return { ...host, scratch: join(host.dir, "scratch") };
  }

  test("what is shipped stands in each item's folder by its name, programs can be run, and folders go", async () => {
    const dir = bundle(
      { "tool/run": '#!/bin/sh\ncat data/a.txt; pwd; echo "$HOME"\n', "data/a.txt": "hello\n" },
      ["tool/run"],
    );
    const host = await loaded(["./tool/run", "{}"], { dir });
    const records = await host.run(1, 0, 2, items("a", "b"));
    expect(records.map(({ status, codec }) => [status, codec])).toEqual([
      [0, codecs.raw],
      [0, codecs.raw],
    ]);
    expect(records.map(({ payload }) => payload.toString())).toEqual([
      `hello\n${host.scratch}/item-1\n${host.scratch}\n`,
      `hello\n${host.scratch}/item-2\n${host.scratch}\n`,
    ]);
    expect(readdirSync(host.scratch)).toEqual([]);
  });

  test("a program that spoils its copies spoils nobody else's", async () => {
    const dir = bundle({ a: "good\n", "d/b": "good\n" });
    const script =
      "cat a d/b; echo bad > a; echo worse >> d/b; rm -f d/b; ln -sf a d/b; chmod 000 a; chmod 500 d; exit 0";
    const host = await loaded(sh(script), { dir });
    const records = await host.run(1, 0, 3, items("x", "y", "z"));
    expect(records.map(({ payload }) => payload.toString())).toEqual(Array(3).fill("good\ngood\n"));
    expect(readFileSync(join(dir, "d/b"), "utf8")).toBe("good\n");
    expect(readdirSync(host.scratch)).toEqual([]);
  });

  test("nothing of an item or of an earlier try is in the next one's folder", async () => {
    const host = await loaded(sh("ls; echo x > left-$0; mkdir -p .hidden/deep; touch .hidden/deep/x"), {
      returns: ["none"],
    });
    const first = await host.run(1, 0, 2, items("a", "a"));
    const again = await host.run(2, 0, 1, items("a"));
    expect([...first, ...again].map((record) => valueOf(record).stdout)).toEqual(["", "", ""]);
  });

  test("files that match return byte for byte, with what can be executed; an item without any has a value too", async () => {
    const script = `case $0 in
      bytes) printf '\\000\\377\\r\\n' > out.bin; mkdir -p d/e; echo deep > d/e/x; echo no > out.txt;;
      program) printf '#!/bin/sh' > out.bin; chmod 755 out.bin;;
      empty) : > out.bin;;
    esac; echo said`;
    const host = await loaded(sh(script), { returns: ["*.bin", "d"] });
    const records = await host.run(1, 0, 4, items("bytes", "program", "empty", "none"));
    const stdout = "said\n";
    expect(records.map(valueOf)).toEqual([
      { stdout, files: { "d/e/x": "deep\n", "out.bin": "\0\xff\r\n" }, executable: [] },
      { stdout, files: { "out.bin": "#!/bin/sh" }, executable: ["out.bin"] },
      { stdout, files: { "out.bin": "" }, executable: [] },
      { stdout, files: {}, executable: [] },
    ]);
  });

  test("of what was shipped only what the program has written returns", async () => {
    const dir = bundle({ "a.txt": "same", "b.txt": "same", "c.txt": "same" });
    const host = await loaded(
      sh("cat a.txt > /dev/null; printf same > b.txt; echo new > d.txt; cp c.txt e.txt"),
      {
        dir,
        returns: ["*.txt"],
      },
    );
    const [record] = await host.run(1, 0, 1, items("x"));
    expect(valueOf(record).files).toEqual({ "b.txt": "same", "d.txt": "new\n", "e.txt": "same" });
  });

  test("a failed program's files return with its error, beside what it printed", async () => {
    const host = await loaded(sh("echo log > log; echo out; test $0 = exit && exit 3; kill -TERM $$"), {
      returns: ["log"],
    });
    const [exit, signal] = (await host.run(1, 0, 2, items("exit", "signal"))).map(errorOf);
    expect(exit).toMatchObject({ kind: "exit", message: "exit code 3", exitCode: 3, executable: [] });
    expect(signal).toMatchObject({ kind: "signal", signal: "SIGTERM" });
    for (const error of [exit, signal]) {
      expect(Buffer.from(error!.files!["log"]!).toString()).toBe("log\n");
      expect(Buffer.from(error!.stdout!).toString()).toBe("out\n");
    }
  });

  test("links return as the file they lead to, if that is in the folder; pipes and what leads out do not", async () => {
    const script =
      "echo x > v1.dat; ln -s v1.dat l1.dat; ln -s ../../page l2.dat; ln -s /etc/passwd l3.dat; ln -s no l4.dat; " +
      "mkfifo p.dat; mkdir d.dat; echo y > d.dat/f; ln -s d.dat l5.dat; ln -s l6.dat l6.dat";
    const host = await loaded(sh(script), { returns: ["*.dat"] });
    const [record] = await host.run(1, 0, 1, items("x"));
    expect(valueOf(record).files).toEqual({ "v1.dat": "x\n", "l1.dat": "x\n", "d.dat/f": "y\n" });
  });

  test("a file that the program has closed returns, and its folder goes", async () => {
    const host = await loaded(sh("echo x > a; chmod 000 a; mkdir d; echo y > d/a; chmod 500 d"), {
      returns: ["a", "d"],
    });
    const [record] = await host.run(1, 0, 1, items("x"));
    expect(valueOf(record).files).toEqual({ a: "x\n", "d/a": "y\n" });
    expect(readdirSync(host.scratch)).toEqual([]);
  });

  test("names return as they are; what is no UTF-8 stays", async () => {
    const host = await loaded(
      sh("touch 'a b' ' 🦆' \"$(printf 'x\\ny')\" \"$(printf 'bad\\377')\" ./-dash"),
      {
        returns: ["*"],
      },
    );
    const [record] = await host.run(1, 0, 1, items("x"));
    expect(Object.keys(valueOf(record).files)).toEqual([" 🦆", "-dash", "a b", "x\ny"]);
  });

  test("bytes at their limit return, beyond it the item fails by the limit's name and keeps what it printed", async () => {
    const max = limits.returnedFilesBytesMax;
    const host = await loaded(sh("truncate -s $0 big; echo out; echo err >&2"), { returns: ["big"] });
    const [most, more] = await host.run(1, 0, 2, items(String(max), String(max + 1)));
    expect(decodeProgramValue(most!.payload).files["big"]).toHaveLength(max);
    const error = errorOf(more!);
    expect(error).toMatchObject({ kind: "output-too-large", stderrTail: "err\n" });
    expect(error.message).toContain(`${max + 1} bytes, more than returnedFilesBytesMax = ${max}`);
    expect(Buffer.from(error.stdout!).toString()).toBe("out\n");
    expect(error).not.toHaveProperty("files");
  });

  test("too many files likewise; a program that failed keeps its own failure beside it", async () => {
    const max = limits.returnedFilesMax;
    const host = await loaded(sh("i=0; while [ $i -le 1000 ]; do : > f$i; i=$((i+1)); done; exit $0"), {
      returns: ["f*"],
    });
    const [good, bad] = (await host.run(1, 0, 2, items("0", "4"))).map(errorOf);
    const message = `${max + 1} files would return, more than returnedFilesMax = ${max}; let --output match less, or pack it`;
    expect(good).toMatchObject({ kind: "output-too-large", message });
    expect(bad).toMatchObject({ kind: "exit", exitCode: 4, message: `exit code 4; ${message}` });
  });

  test("a program that is nowhere, also not among the files, fails the task once", async () => {
    const dir = bundle({ there: "#!/bin/sh\n", "not-executable": "x" }, ["there"]);
    for (const program of ["./missing", "./not-executable", "there"]) {
      const host = await startHost("exec", { execHost });
      const answer = await host.load({ argv: [program], dir });
      expect([program, answer["t"]]).toEqual([program, "initFailed"]);
      expect(errorOf(answer).message).toContain(program);
    }
  });

  test("a program named by the item that is nowhere is its error, and leaves no folder", async () => {
    const host = await loaded(["{}"], { returns: ["*"] });
    const [bad, good] = await host.run(1, 0, 2, items("./no", "true"));
    expect(errorOf(bad!).message).toBe("spawn ./no ENOENT");
    expect(valueOf(good).files).toEqual({});
    expect(readdirSync(host.scratch)).toEqual([]);
  });

  test("what is shipped has the same old date in each copy, and its bytes and modes", async () => {
    const dir = bundle({ a: "x".repeat(3_000_000), b: "" }, ["b"]);
    const host = await loaded(["stat", "-c", "%n %s %a %Y", "a", "b", "{}"], { dir });
    const [record] = await host.run(1, 0, 1, items("a"));
    expect(record!.payload.toString().split("\n").slice(0, 2)).toEqual([
      "a 3000000 600 946684800",
      "b 0 700 946684800",
    ]);
  });

  test("a program that removes its HOME ends well, and so do those after it", async () => {
    const host = await loaded(sh('echo x > a; test $0 != rm || rm -rf "$HOME"'), { returns: ["a"] });
    const records = await host.run(1, 0, 3, items("rm", "rm", "keep"));
    expect(records.map((record) => valueOf(record).files)).toEqual([{}, {}, { a: "x\n" }]);
  });

  test("a link in the place of its folder is not followed, and only the link goes", async () => {
    const outside = bundle({ kept: "x", "d/kept": "x" });
    const host = await loaded(sh(`cd .. && rm -rf item-1 && ln -s ${outside} item-1`), { returns: ["**"] });
    const records = await host.run(1, 0, 2, items("a", "b"));
    expect(records.map((record) => valueOf(record).files)).toEqual([{}, {}]);
    expect(readdirSync(outside).toSorted()).toEqual(["d", "kept"]);
    expect(readdirSync(host.scratch)).toEqual(["item-1"]); // what the second made of a name that is not its own
  });

  test("a folder that cannot be made is that item's error, and the next item goes on", async () => {
    const dir = bundle({ a: "x" });
    const host = await loaded(["cat", "a", "{}"], { dir });
    mkdirSync(join(host.scratch, "item-1"));
    const [bad, good] = await host.run(1, 0, 2, items("a", "a"));
    expect(errorOf(bad!).message).toContain("item-1");
    expect(good!.payload.toString()).toBe("xx");
  });

  test.runIf(canMount())(
    "without room for the copies the host ends with the exit that blames no item",
    async () => {
      const disk = join(newFolder(), "disk");
      mountSmall(disk);
      const dir = bundle({ a: "x".repeat(300_000) });
      const host = await loaded(["true", "{}"], { dir, scratch: disk });
      host.slice(1, 0, 1);
      expect(await host.exited).toEqual([75, null]);
      expect(host.items()).toEqual([]);
    },
  );
});
