/** nats-server and one coordinator, started as `everycore up` starts them, without agents. */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection } from "@everycore/client/internal";
import { startLocalCluster } from "../../packages/cli/src/local/local-cluster.ts";

export interface BareCluster extends AsyncDisposable {
  readonly cluster: Connection;
  readonly address: string;
  /** HOST:PORT of the coordinator's metrics. */
  readonly http: string;
  readonly secret: string;
}

export async function startBareCluster(options: {
  signal: AbortSignal;
  /** Where the coordinator leaves its CPU profile and its log when it ends. */
  profileDir: string | undefined;
}): Promise<BareCluster> {
  const { signal, profileDir } = options;
  const dir = await mkdtemp(join(tmpdir(), `everycore-embedded-${process.pid}-`));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const local = await profiled(profileDir, () =>
      startLocalCluster({
        dir,
        secret: randomBytes(32).toString("hex"),
        agents: 0,
        slots: undefined,
        logLevel: process.env["EVERYCORE_LOG_LEVEL"] ?? "warn",
        listen: "127.0.0.1:0",
        httpListen: "127.0.0.1:0",
        insecureNetwork: false,
        say: (line) => void process.stderr.write(`${line}\n`),
        stop: "orderly", // a profile is written at an orderly end only
        signal,
      }),
    );
    const { address, http, secret } = local;
    const cluster = new Connection({ address, secret });
    const dispose = async (): Promise<void> => {
      await cluster.close();
      await local[Symbol.asyncDispose]();
      if (profileDir !== undefined)
        await copyFile(join(dir, "coordinator.log"), join(profileDir, "coordinator.log"));
      await remove();
    };
    return { cluster, address, http, secret, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Node reads its options from the environment, which the started processes get from us. */
async function profiled<T>(dir: string | undefined, start: () => Promise<T>): Promise<T> {
  if (dir === undefined) return start();
  await mkdir(dir, { recursive: true });
  process.env["NODE_OPTIONS"] = `--cpu-prof --cpu-prof-dir=${dir}`;
  try {
    return await start();
  } finally {
    delete process.env["NODE_OPTIONS"];
  }
}
