import { fileURLToPath } from 'node:url';
import { VERSION } from '../../src/version.ts';
import { type Ended, holdfast, type Running } from './processes/process.ts';
import type { Servers } from './servers/servers.ts';

/** The scripted browser, as `BROWSER`. */
export const SCRIPTED_BROWSER = fileURLToPath(new URL('./browser/scripted-browser.mjs', import.meta.url));

/** Hides the reports of native keyrings, which depend on the platform and have their own tests. */
const OTHER_KEYRINGS =
  /^(\w* +keyring +| +)(wincred|keychain|kwallet|keyctl[:\w]*) (is|was) passed over.*(\n +→ .*)?(\n|$)/gm;

/** Hides the warning about a memory or container file system, which depends on the machine. */
const PASSING_HOME = /^warning: .* lies on .*: the login is gone .*\n {2}To keep it, .*(\n|$)/gm;

/** A user at a terminal with one home and nothing else: no D-Bus, no display, no writable HOME. */
export interface CommandLine {
  readonly home: string;
  start(args: readonly string[], variables?: Readonly<Record<string, string>>): Running;
  run(args: readonly string[], variables?: Readonly<Record<string, string>>): Promise<Ended>;
  /** The output and exit code of the command, with variable parts replaced. */
  transcript(ended: Ended): string;
  /** Runs a command. @returns its transcript */
  told(args: readonly string[], variables?: Readonly<Record<string, string>>): Promise<string>;
}

/**
 * Opens a command line.
 *
 * @param servers shown as `MCP-1` and `AUTH1`, `MCP-2` and `AUTH2`, in that order
 * @param replacements texts to replace before all others
 */
export function commandLine(
  home: string,
  servers: readonly Servers[] = [],
  replacements: Readonly<Record<string, string>> = {},
): CommandLine {
  const start: CommandLine['start'] = (args, variables) =>
    holdfast(args, { HOLDFAST_HOME: home, BROWSER: SCRIPTED_BROWSER, ...variables });
  const run: CommandLine['run'] = (args, variables) => start(args, variables).ended;
  const transcript = ({ code, out, err }: Ended) =>
    normalised(
      [`exit ${code}`, ...labelled('stdout', out), ...labelled('stderr', err)].join('\n'),
      home,
      servers,
      replacements,
    );
  return {
    home,
    start,
    run,
    transcript,
    told: async (args, variables) => transcript(await run(args, variables)),
  };
}

function labelled(stream: string, text: string): string[] {
  return text === '' ? [] : [`--- ${stream}`, text.replace(/\n$/, '')];
}

/** Replacements keep the width of the original if possible, so that columns stay aligned. */
function normalised(
  text: string,
  home: string,
  servers: readonly Servers[],
  replacements: Readonly<Record<string, string>>,
): string {
  let shown = text.replaceAll(OTHER_KEYRINGS, '').replaceAll(PASSING_HOME, '').trimEnd();
  for (const [from, to] of Object.entries(replacements)) shown = shown.replaceAll(from, to);
  shown = shown.replaceAll(home, '$HOME');
  for (const [index, { resource, issuer }] of servers.entries()) {
    shown = shown
      .replaceAll(new URL(resource).host, `127.0.0.1:MCP-${index + 1}`)
      .replaceAll(new URL(issuer).host, `127.0.0.1:AUTH${index + 1}`);
  }
  return shown
    .replaceAll(/(\/auth\?)[^\s"]+/g, '$1…')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/\bin \d\d minutes/g, 'in NN minutes')
    .replaceAll(/\b\d+ (seconds?|minutes?) ago|\bjust now/g, 'a while ago')
    .replaceAll(/(localhost|127\.0\.0\.1):\d{5}/g, '$1:PPPPP')
    .replaceAll(/(\b[Pp]ort|-L) \d{5}\b/g, '$1 PPPPP')
    .replaceAll(/[\w-]{12}…/g, 'RECORD-ID…')
    .replaceAll(/"(clientId|kid|id|token)": "[\w-]{20,}"/g, '"$1": "…"')
    .replaceAll(`v${process.versions.node}`, 'vN.N.N')
    .replaceAll(VERSION, 'V.V.V');
}
