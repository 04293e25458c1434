/**
 * Subjects on which coordinators might speak to each other, beside what they say of themselves (peers.ts). Who leads
 * is read from EC_LEADER, and commands go by gRPC, so nothing that is heard here is acted upon; but what does not belong there is counted, as on every plane,
 * so that whoever runs the cluster sees it.
 */
import { isAddressText, subjects } from "@everycore/protocol";
import type { NatsConnection } from "@nats-io/nats-core";

export function countMalformed(
  nats: NatsConnection,
  onMalformed: (plane: "leader" | "command") => void,
): void {
  nats.subscribe(subjects.leader, {
    callback: (error, message) => {
      if (error === null && !isAddressText(message.data)) onMalformed("leader");
    },
  });
  // Version 1 has no command: whatever arrives is one that we do not know.
  nats.subscribe(subjects.command, {
    callback: (error) => {
      if (error === null) onMalformed("command");
    },
  });
}
