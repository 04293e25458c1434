/**
 * `everycore nats-config`: the configuration of a nats-server that somebody else starts, such as a container or a
 * service. It holds passwords derived from the secret, never the secret itself.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { loadConfig, readSecretFile } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { parseListen, parseSize } from "../input/values.ts";
import type { SharedNatsOptions } from "../local/nats-config.ts";
import { sharedNatsConfig } from "../local/nats-config.ts";
import { keepSecret } from "../local/state-folder.ts";
import { checkNetwork } from "./network-flags.ts";

interface NatsConfigFlags {
  readonly secretFile?: string;
  readonly makeSecret?: boolean;
  readonly listen: string;
  readonly httpListen: string;
  readonly store: string;
  readonly storeSize: number;
  readonly serverName?: string;
  readonly clusterListen?: string;
  readonly route?: readonly string[];
  readonly out?: string;
  readonly insecureNetwork?: boolean;
}

export const natsConfigCommand = (): Command =>
  new Command("nats-config")
    .description("print the configuration of a nats-server that you start yourself, for --nats")
    .option("--secret-file <file>", "file with the cluster's secret, readable by you alone")
    .option("--make-secret", "make that file if there is none")
    .option("--listen <host:port>", "where it shall listen", parseListen, "127.0.0.1:4222")
    .option("--http-listen <host:port>", "where it shall answer probes", parseListen, "127.0.0.1:8222")
    .option("--store <dir>", "folder in which it keeps the logs of jobs", "/data/store")
    .option("--store-size <size>", "bytes that it may keep there", parseSize, 10 * 1024 ** 3)
    .option("--server-name <name>", "its name in a cluster of nats-servers, another one for each")
    .option("--cluster-listen <host:port>", "where it shall listen for the cluster's others", parseListen)
    .option(
      "--route <host:port>",
      "--cluster-listen of a server of the cluster, itself or another; give it for each",
      (value: string, list: readonly string[] | undefined) => [...(list ?? []), parseListen(value)],
    )
    .option("--out <file>", "write it to this file, readable by you alone, instead of stdout")
    .option("--insecure-network", "allow to listen beyond this machine WITHOUT encryption")
    .addHelpText(
      "after",
      "\nExamples:\n  everycore nats-config --secret-file ./secret --make-secret --store /var/lib/nats --out nats-server.conf\n" +
        "  everycore nats-config --secret-file ./secret --listen 0.0.0.0:4222 --server-name a --cluster-listen 0.0.0.0:6222 \\\n" +
        "    --route a.lan:6222 --route b.lan:6222 --route c.lan:6222 --insecure-network",
    )
    .action(natsConfig);

async function natsConfig(flags: NatsConfigFlags): Promise<void> {
  checkNetwork(flags);
  const cluster = clusterOf(flags);
  const text = sharedNatsConfig({
    secret: await secretOf(flags),
    listen: flags.listen,
    httpListen: flags.httpListen,
    storeDir: flags.store,
    storeBytes: flags.storeSize,
    ...(cluster === undefined ? {} : { cluster }),
  });
  if (flags.out === undefined) {
    process.stdout.write(text);
    return;
  }
  const part = `${flags.out}.${process.pid}`;
  await writeFile(part, text, { mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
    throw new EverycoreError("bad-input", `${flags.out} cannot be written (${error.code ?? error.message})`);
  });
  await rename(part, flags.out); // whole or not at all: a server may be reading it
}

function clusterOf(flags: NatsConfigFlags): SharedNatsOptions["cluster"] {
  const { serverName, clusterListen: listen, route: routes, insecureNetwork } = flags;
  if (serverName === undefined && listen === undefined && routes === undefined) return undefined;
  if (serverName === undefined || listen === undefined || routes === undefined) {
    throw new EverycoreError("bad-input", "a server of a cluster needs three flags, and not all are there", {
      hint: "give --server-name NAME, --cluster-listen HOST:PORT, and --route HOST:PORT for each server",
    });
  }
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(serverName)) {
    throw new EverycoreError("bad-input", `"${serverName}" is not the name of a server`, {
      hint: "write up to 64 letters, digits, - and _, another name for each server",
    });
  }
  checkNetwork({ listen, ...(insecureNetwork === undefined ? {} : { insecureNetwork }) });
  return { serverName, listen, routes };
}

async function secretOf(flags: NatsConfigFlags): Promise<string> {
  const config = loadConfig();
  const file = flags.secretFile ?? config.secretFile?.value;
  if (file === undefined) {
    if (config.secret !== undefined && flags.makeSecret !== true) return config.secret.value;
    throw new EverycoreError("bad-input", "there is no secret that the passwords could follow from", {
      hint: "give --secret-file FILE, with --make-secret if it is to be made",
    });
  }
  if (flags.makeSecret !== true) return readSecretFile(file);
  await mkdir(dirname(resolve(file)), { recursive: true, mode: 0o700 });
  return keepSecret(file);
}
