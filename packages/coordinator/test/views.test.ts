// What a request says of a job that is no longer known here.
import { EverycoreError } from "@everycore/protocol";
import type { JobId } from "@everycore/protocol";
import { expect, test } from "vitest";
import type { ControlParts } from "../src/control/parts.ts";
import { viewOf } from "../src/control/parts.ts";
import { newCluster } from "../src/core/index.ts";

const job = "0".repeat(20) as JobId;

/** Only what viewOf reads. */
const partsOf = (mustLead: () => void): ControlParts =>
  ({ state: newCluster(), mustLead }) as unknown as ControlParts;

test("a leader that was deposed has forgotten its jobs: the client is sent on, not told that its job was deleted", () => {
  const deposed = partsOf(() => {
    throw new EverycoreError("no-leader", "another leads");
  });
  expect(() => viewOf(deposed, job)).toThrow("another leads");
  expect(() =>
    viewOf(
      partsOf(() => {}),
      job,
    ),
  ).toThrow(`job ${job} was deleted`);
});
