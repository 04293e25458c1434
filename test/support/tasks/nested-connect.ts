// A task that asks for a cluster itself.

import { EverycoreError, connect } from "@everycore/client";

/** Code and sentence of what connect() says inside a worker. */
export default async function nested(): Promise<string> {
  try {
    await using cluster = await connect({ quiet: true });
    return `connected to ${cluster.address}`;
  } catch (error) {
    return error instanceof EverycoreError ? `${error.code}: ${error.message}` : String(error);
  }
}
