import { connect } from "@nats-io/transport-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { startNatsServer } from "./nats-server.ts";
import { until } from "./until.ts";

test("a killed server comes back on the same port with its streams", async () => {
  await using nats = await startNatsServer();
  const connection = await connect({ servers: nats.url });
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name: "KEPT", subjects: ["kept.>"] });
  await connection.close();
  const { port, pid } = nats;

  await nats.kill("SIGKILL");
  expect(nats.pid).toBeUndefined();
  await nats.restart();

  expect(nats.port).toBe(port);
  expect(nats.pid).not.toBe(pid);
  const again = await connect({ servers: nats.url });
  const info = await (await jetstreamManager(again)).streams.info("KEPT");
  expect(info.config.name).toBe("KEPT");
  await again.close();
});

test("until names what it waited for and keeps the last error", async () => {
  const failing = until(() => Promise.reject(new Error("not yet")), { withinMs: 50, what: "the moon" });
  await expect(failing).rejects.toMatchObject({
    message: "waited 50 ms in vain for the moon",
    cause: { message: "not yet" },
  });
});
