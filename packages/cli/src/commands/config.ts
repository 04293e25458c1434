/** `everycore config get`: the settings in force, and where each comes from. */
import { loadConfig, nearest, settingNames, settings } from "@everycore/client/internal";
import type { SettingName } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";
import { Command } from "commander";
import { table } from "../terminal/table.ts";
import { formatOption, printJson } from "./job.ts";

interface ConfigFlags {
  readonly showOrigin?: boolean;
  readonly output: "table" | "json";
}

export function configCommand(): Command {
  const command = new Command("config")
    .description("settings: flags > EVERYCORE_* > ./everycore.json > config.json")
    .addHelpText("after", "\nExample:\n  everycore config get --show-origin");
  command.addCommand(
    new Command("get")
      .description("the settings in force; the secret is not shown")
      .argument("[setting]", "only this one")
      .option("--show-origin", "say where each comes from")
      .addOption(formatOption())
      .addHelpText("after", "\nExample:\n  everycore config get --show-origin")
      .action(get),
  );
  return command;
}

function get(wanted: string | undefined, flags: ConfigFlags): void {
  const config = loadConfig();
  const shown = wanted === undefined ? settingNames : [checkedName(wanted)];
  const rows = shown.map((name) => {
    const { value = "", origin = "default" } = config[name] ?? {};
    return {
      name,
      value: name === "secret" && value !== "" ? "(hidden)" : value,
      origin,
      about: settings[name].about,
    };
  });
  if (flags.output === "json") return printJson(rows);
  if (wanted !== undefined && flags.showOrigin !== true)
    return void process.stdout.write(`${rows[0]!.value}\n`);
  const cells = rows.map(({ name, value, origin, about }) =>
    flags.showOrigin === true ? [name, value, origin] : [name, value, about],
  );
  process.stdout.write(
    table(["SETTING", "VALUE", flags.showOrigin === true ? "ORIGIN" : "WHAT IT IS"], cells),
  );
}

function checkedName(text: string): SettingName {
  const name = settingNames.find((known) => known === text);
  if (name !== undefined) return name;
  const meant = nearest(text, settingNames);
  throw new EverycoreError("bad-input", `there is no setting "${text}"`, {
    hint: meant === undefined ? `known are ${settingNames.join(", ")}` : `did you mean ${meant}?`,
  });
}
