/**
 * Rules of DESIGN 5, 8 and 9, each with a change that breaks it. `npm run mutate` makes each change in a copy of the
 * tree and wants the simulator or the named test to turn red: a rule that can be left out unseen is not kept by
 * anything. mutations.test.ts holds that every text is found exactly once, so that a refactoring takes its rule along.
 */
import { ofTheAgent } from "./mutations/agent.ts";
import { ofCheckpoints } from "./mutations/checkpoints.ts";
import { ofFiles } from "./mutations/files.ts";
import { ofTheFold } from "./mutations/fold.ts";
import { ofSpotChecks } from "./mutations/spot-checks.ts";
import { ofTheLeader } from "./mutations/leader.ts";
import { ofSecondTries } from "./mutations/second-tries.ts";
import { ofLeases } from "./mutations/leases.ts";
import type { Mutation } from "./mutations/mutation.ts";

export const mutations: readonly Mutation[] = [
  ...ofTheFold,
  ...ofCheckpoints,
  ...ofTheLeader,
  ...ofLeases,
  ...ofSecondTries,
  ...ofSpotChecks,
  ...ofTheAgent,
  ...ofFiles,
];
