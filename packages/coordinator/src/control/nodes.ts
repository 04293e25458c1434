/** NodeService: what the core knows of a node, joined with what its agent said of itself. */
import type { NodeId } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import type { NodeView } from "../core/index.ts";
import { nodeView, nodeViews } from "../core/index.ts";
import type { ControlParts } from "./parts.ts";
import type { Handlers, Message } from "./handlers.ts";
import { unary } from "./handlers.ts";

export function nodeInfo(parts: ControlParts, view: NodeView): Message {
  const said = parts.links.nodeOf(view.id);
  return { ...said?.node, ...view, ...said?.files };
}

function findNode(parts: ControlParts, typed: string): NodeId {
  parts.mustLead();
  const ids = [...parts.state.nodes.keys()];
  const fitting = /^[0-9a-f]{1,16}$/.test(typed) ? ids.filter((id) => id.startsWith(typed)) : [];
  // People know machines by their names.
  const named = fitting.length > 0 ? fitting : ids.filter((id) => parts.state.nodes.get(id)?.host === typed);
  const [found] = named;
  if (found === undefined) {
    throw new EverycoreError("not-found", `no node ${typed.slice(0, 64)}`, {
      hint: "see: everycore node list",
    });
  }
  if (named.length > 1) {
    throw new EverycoreError(
      "ambiguous",
      `${typed} fits ${named.length} nodes: ${named.slice(0, 3).join(", ")}`,
      {
        hint: "give more digits of the node's id",
      },
    );
  }
  return found;
}

export function nodeHandlers(parts: ControlParts): Handlers {
  const info = (id: NodeId): Message => {
    const view = nodeView(parts.state, id);
    if (view === undefined) throw new EverycoreError("not-found", `no node ${id}`);
    return nodeInfo(parts, view);
  };
  return {
    List: unary(async () => {
      parts.mustLead();
      const nodes = nodeViews(parts.state).map((view) => nodeInfo(parts, view));
      return { nodes, coordinators: parts.coordinators() };
    }),
    Get: unary(async ({ node }: { node: string }) => info(findNode(parts, node))),
    Drain: unary(async ({ node }: { node: string }) => {
      const id = findNode(parts, node);
      await parts.asks.ask((ask) => parts.enqueue({ kind: "drainAsked", node: id, ask }));
      return info(id);
    }),
    Undrain: unary(async ({ node }: { node: string }) => {
      const id = findNode(parts, node);
      await parts.asks.ask((ask) => parts.enqueue({ kind: "undrainAsked", node: id, ask }));
      return info(id);
    }),
  };
}
