// What an item was made of, asked of a coordinator as a process by its public door.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { decodeSpec, encodeSpec, packEntries } from "@everycore/protocol";
import { startNatsServer } from "../../../test/support/nats-server.ts";
import { until } from "../../../test/support/until.ts";
import { Calls, codeOf, CoordinatorProcess, spec } from "./support/coordinator-process.ts";

interface Item {
  readonly head: { readonly job: string; readonly spec: Buffer; readonly bytes: number };
  readonly text: string;
}

async function itemOf(calls: Calls, job: string, index: number): Promise<Item> {
  let head: Item["head"] | undefined;
  const pieces: Buffer[] = [];
  for await (const message of calls.download("JobService", "Item", { job, index })) {
    if (message.head) head = message.head;
    else pieces.push(message.data);
  }
  return { head: head!, text: Buffer.concat(pieces).toString() };
}

const refusal = async (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "answered",
    (error: Error) => `${codeOf(error)}: ${error.message}`,
  );

test("any item of any block, with the specification, before and after the coordinator was killed", async () => {
  await using nats = await startNatsServer();
  await using coordinator = await CoordinatorProcess.start(nats.url);
  using calls = new Calls(coordinator.listen);
  const large = "x".repeat(1_200_000); // more than a message of the log and of the answer
  const { id } = await calls.submit("r1", spec(), [["a", "b"], [large], ["", "e"]]);
  const all = async (): Promise<string[]> =>
    Promise.all([0, 1, 2, 3, 4].map(async (index) => (await itemOf(calls, id, index)).text));
  expect(await all()).toEqual(["a", "b", large, "", "e"]);
  const { head } = await itemOf(calls, id.slice(0, 8), 2);
  expect(head).toMatchObject({ job: id, bytes: large.length });
  expect(decodeSpec(head.spec)).toEqual(spec());
  expect(await refusal(itemOf(calls, id, 5))).toMatch(/^not-found: .*has 5 items and no item 5/);
  expect(await refusal(itemOf(calls, "ffff", 0))).toMatch(/^not-found: /);
  await coordinator.end("SIGKILL");
  await coordinator.start();
  expect(await all()).toEqual(["a", "b", large, "", "e"]);
});

test("a range has no bytes, its reduction no input, and of an open job what is there so far can be had", async () => {
  await using nats = await startNatsServer();
  await using coordinator = await CoordinatorProcess.start(nats.url);
  using calls = new Calls(coordinator.listen);
  const code = Buffer.from("code of the task");
  const digest = createHash("sha256").update(code).digest("hex");
  await calls.upload("JobService", "PutBundle", [{ head: { digest, bytes: code.length } }, { data: code }]);
  const task = {
    ...spec().task,
    runtime: "js" as const,
    bundle: digest as never,
    export: "f",
    reduce: "add",
  };
  const range = await calls.submit("r2", spec({ codec: "range", rangeItems: 10, task }));
  expect(await itemOf(calls, range.id, 9)).toMatchObject({ head: { bytes: 0 }, text: "" });
  expect(await refusal(itemOf(calls, range.id, 10))).toMatch(/^not-found: .*is its reduction/);
  const bytes = await calls.download("JobService", "GetBundle", { digest }).toArray();
  expect(Buffer.concat(bytes.map(({ data }) => data as Buffer))).toEqual(code);
  expect(
    await refusal(calls.download("JobService", "GetBundle", { digest: "0".repeat(64) }).toArray()),
  ).toMatch(/^not-found: /);

  const open = calls.duplex("JobService", "Submit");
  let job = "";
  let appended = 0;
  open.on("data", (message) => {
    if (message.accepted) job = message.accepted.job;
    if (message.appended) appended = message.appended;
  });
  open.on("error", () => {}); // it is left open to the end
  open.write({ open: { requestId: "r3", spec: encodeSpec(spec()) } });
  open.write({ block: { first: 0, count: 2, data: packEntries([Buffer.from("a"), Buffer.from("b")]) } });
  await until(() => appended === 2, { what: "a durable block" });
  await until(async () => (await itemOf(calls, job, 1)).text === "b", { what: "the item to be known" });
  expect(await refusal(itemOf(calls, job, 2))).toMatch(/^not-found: .*has 2 items so far and no item 2/);
  open.cancel();
});
