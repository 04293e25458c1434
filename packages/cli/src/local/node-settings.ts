/**
 * What the configuration says of the nodes that this machine starts: an agent of its own, those of `up`, that of an
 * embedded cluster. A wrong one is named with where it comes from: it may be a file that the user has forgotten.
 */
import type { Config } from "@everycore/client/internal";
import { checkLabels, EverycoreError } from "@everycore/protocol";
import { parseCount, parseReplicas } from "../input/values.ts";

export function configuredSlots(config: Config): number | undefined {
  if (config.slots === undefined) return undefined;
  return parseCount("slots", { min: 1, max: 4096 })(config.slots.value);
}

/** Servers of NATS that shall keep each record; undefined: as it is. */
export const configuredReplicas = (config: Config): number | undefined =>
  config.replicas === undefined ? undefined : parseReplicas(config.replicas.value);

/** `key=value,key=value`; undefined where nothing is configured. */
export function configuredLabels(config: Config): readonly string[] | undefined {
  if (config.labels === undefined) return undefined;
  const { value, origin } = config.labels;
  const labels = value
    .split(",")
    .map((label) => label.trim())
    .filter((label) => label !== "");
  try {
    return checkLabels(labels);
  } catch (error) {
    if (!(error instanceof EverycoreError)) throw error;
    const { code, message, hint } = error;
    throw new EverycoreError(code, `labels of ${origin}: ${message}`, { hint, cause: error });
  }
}
