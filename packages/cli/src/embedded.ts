/**
 * `everycore/embedded`: an embedded cluster for a program that is not the command, in a process of its own, because
 * the roles need a newer Node than programs that use the client. That process holds our pipe as its lifeline: however
 * we die, it ends with all its parts. Loaded by @everycore/client, whose `EmbeddedModule` is the contract.
 */
import { join } from "node:path";
import type { EmbeddedModule } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { findBundledNode, isRecentNode, nodeMissingMessage } from "../bin/bundled-node.js";
import { Child } from "./local/child.ts";

const packageFolder = join(import.meta.dirname, "..");
const launcher = join(packageFolder, "bin", "everycore.js");

export const startEmbedded: EmbeddedModule["startEmbedded"] = async ({ slots, quiet, signal }) => {
  const node = isRecentNode() ? process.execPath : findBundledNode(packageFolder);
  if (node === undefined) {
    throw new EverycoreError("unreachable", `no cluster is configured, and ${nodeMissingMessage()}`, {
      hint: "name a cluster by connect({ address, secretFile }) or EVERYCORE_ADDRESS",
    });
  }
  const child = new Child({
    name: "the embedded cluster",
    command: node,
    args: [
      launcher,
      "embedded",
      ...(slots === undefined ? [] : ["--slots", String(slots)]),
      ...(quiet ? ["--quiet"] : []),
    ],
    isForeground: true,
    hasLifeline: true,
  });
  try {
    const { address, secret } = await child.ready(signal);
    if (typeof address !== "string" || typeof secret !== "string")
      throw new EverycoreError("internal", "the embedded cluster did not say where it is");
    child.keepNobodyAlive();
    return { address, secret, stop: () => child.stop("quick") };
  } catch (error) {
    await child.stop("quick");
    throw error;
  }
};
