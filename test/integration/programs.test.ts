// Programs as items (`run`): each way in which one can end, with both hosts.

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { everycore } from "../support/command.ts";
import { runJob, submit, upTo } from "../support/jobs.ts";

describe.each(["python", "node"])("with the host in %s", (execHost) => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ slots: 2, agentEnvironment: { EVERYCORE_EXEC_HOST: execHost } });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test("the agent says in its log which host it is, and that it runs programs", async () => {
    expect(readFileSync(cluster.path("agent-1.log"), "utf8")).toMatch(new RegExp(`"execHost":"${execHost} `));
    const [node] = await cluster.client.listNodes();
    expect(node!.runtimes.map(({ name }) => name)).toContain("exec");
  });

  test("exit 0 gives stdout as bytes, exactly", async () => {
    const { outcomes, info } = await runJob(cluster.client, {
      task: ["printf", "\\0\\377%s", "{}"],
      items: ["a", ""],
    });
    expect(outcomes.map((outcome) => [...(outcome.value() as Buffer)])).toEqual([
      [0, 255, 97],
      [0, 255],
    ]);
    expect(info.counts).toMatchObject({ value: 2 });
  });

  test("a non-zero exit is an error that keeps code, stdout and the end of stderr", async () => {
    const { outcomes } = await runJob(cluster.client, {
      task: ["sh", "-c", "echo out; echo complaint >&2; exit $0", "{}"],
      items: ["0", "3"],
    });
    expect(outcomes[0]!.status).toBe("value");
    const error = outcomes[1]!.error();
    expect(error).toMatchObject({ kind: "exit", exitCode: 3 });
    expect(Buffer.from(error.stdout!).toString()).toBe("out\n");
    expect(error.stderrTail).toContain("complaint");
  });

  test("death by a signal is an error of the item, not a crash of the worker", async () => {
    const { outcomes, info } = await runJob(cluster.client, {
      task: ["sh", "-c", "kill -$0 $$", "{}"],
      items: ["SEGV", "TERM"],
    });
    expect(outcomes.map((outcome) => outcome.error().kind)).toEqual(["signal", "signal"]);
    expect(outcomes[0]!.error().signal).toBe("SIGSEGV");
    expect(info).toMatchObject({ strikes: 0, counts: { error: 2, crash: 0 } });
  });

  test("a program that is not there is one failure of the job that names it", async () => {
    const job = await submit(cluster.client, { task: ["no-such-program-anywhere", "{}"], range: [1, 1000] });
    const info = await cluster.client.waitJob(job, { timeoutMs: 20_000 });
    expect(info.state).toBe("failed");
    expect(info.reason).toContain("no-such-program-anywhere");
  });

  test("output over the limit is an error that names the limit", async () => {
    const { outcomes } = await runJob(cluster.client, {
      task: ["head", "-c", "{}", "/dev/zero"],
      items: ["16777217", "3"],
    });
    expect(outcomes.map(({ status }) => status)).toEqual(["error", "value"]);
    expect(outcomes[0]!.error()).toMatchObject({ kind: "output-too-large" });
    expect(outcomes[0]!.error().message).toContain("16777216");
  });

  test("the command prints what failed programs had printed, names the item on stderr, and exits 1", async () => {
    const args = ["run", "--range", "1-3", "--", "sh", "-c", "echo line $0; test $0 != 2", "{}"];
    const { code, stdout, stderr } = await everycore(args, { environment: cluster.environment });
    expect(stdout).toBe("line 1\nline 2\nline 3\n");
    expect(stderr).toMatch(/^item 1 \(2\): .*exit.*1/m);
    expect(stderr).toContain("1 of 3 items failed (1 exit)".replace("1 exit", "1 error"));
    expect(code).toBe(1);
  });

  test("stdin of a program is empty, and a program cannot read the next one's", async () => {
    const { outcomes } = await runJob(cluster.client, {
      task: ["sh", "-c", "cat; echo $0", "{}"],
      items: ["a", "b"],
    });
    expect(outcomes.map((outcome) => (outcome.value() as Buffer).toString())).toEqual(["a\n", "b\n"]);
  });

  test("retries run a program again until it succeeds", async () => {
    const script = `f=${cluster.dir}/tries.$0; echo x >> $f; test $(wc -l < $f) -ge 3`;
    const { info } = await runJob(cluster.client, {
      task: ["sh", "-c", script, "{}"],
      range: [1, 4],
      retries: 3,
    });
    expect(info).toMatchObject({ counts: { value: 4 }, retries: 8 });
  });

  test("a thousand short programs on two slots: all values, in order", { timeout: 60_000 }, async () => {
    const { outcomes } = await runJob(cluster.client, { task: ["echo", "{}"], range: [0, 999] });
    expect(outcomes.map((outcome) => Number((outcome.value() as Buffer).toString()))).toEqual(upTo(1000));
  });

  test("--env gives a variable to programs that see a bare environment; one that is not set is refused", async () => {
    const say = ["--", "sh", "-c", 'echo "$WHO:$SECRETLY:$GIVEN:$HOME"'];
    const base = ["run", "--range", "1-1", "--scratch", "--env", "WHO", "--env", "GIVEN=a=b"];
    const options = { environment: { ...cluster.environment, WHO: "me", SECRETLY: "kept" } };
    const { code, stdout } = await everycore([...base, ...say], options);
    expect(stdout).toMatch(/^me::a=b:\/.*scratch/);
    expect(code).toBe(0);
    const missing = await everycore([...base, "--env", "NOT_SET_ANYWHERE", ...say], options);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("NOT_SET_ANYWHERE: it is not set here");
  });
});
