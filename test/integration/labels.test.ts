// `--require`: a job runs on the nodes that have what it needs, and waits for one that comes.

import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { Command, everycore, jsonLines } from "../support/command.ts";
import { until } from "../support/until.ts";

test("a job that requires a label runs where it is, and waits for it until an agent brings it", async () => {
  await using cluster = await startCluster({ agents: 1, slots: 1 });
  const { environment } = cluster;
  const zoned = await cluster.addAgent({ labels: ["zone=here"] });
  const script = ["--", "sh", "-c", "echo hello"];
  const fits = await everycore(["run", "--range", "1-20", "--require", "zone=here", ...script], {
    environment,
  });
  expect(fits).toMatchObject({ code: 0, stdout: "hello\n".repeat(20) });
  const { jobs } = await cluster.client.listJobs({ limit: 1 });
  expect(jobs[0]!.usage.map(({ node }) => node)).toEqual([zoned.node]);
  const node = await everycore(["node", "get", zoned.node], { environment });
  expect(node.stdout).toMatch(/labels +zone=here/);

  await writeFile(cluster.path("same.mjs"), "export default (n) => n;");
  const waiting = new Command(["map", "same.mjs", "--range", "0-3", "--require", "gpu"], {
    environment,
    cwd: cluster.dir,
    stdin: "",
  });
  await until(
    async () => {
      const [job] = (await cluster.client.listJobs({ limit: 1 })).jobs;
      return job?.reason === "blocked: no-node (no node has the label gpu; they have zone=here)";
    },
    { what: "the job to say what it waits for", withinMs: 20_000 },
  );
  await cluster.addAgent({ labels: ["gpu=a100"] });
  const { code, stdout } = await waiting.end();
  expect(code).toBe(0);
  expect(jsonLines(stdout)).toHaveLength(4);

  const refused = await everycore(["run", "--range", "1-2", "--require", "python=2.7", ...script], {
    environment,
  });
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("no node has Python 2.7");
  const wrong = await everycore(["run", "--range", "1-2", "--require", "a b", ...script], { environment });
  expect(wrong.code).toBe(2);
});
