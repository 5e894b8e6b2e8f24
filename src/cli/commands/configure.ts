import { resolve } from 'node:path';
import { CLIENTS, type Client, type ProjectContext, type Scope } from '../../configure/clients.ts';
import {
  configure,
  entriesOf,
  fileOf,
  type Outcome,
  snippetOf,
  unconfigure,
  type Wanted,
} from '../../configure/configure.ts';
import { accountLabel, canonicalResource } from '../../credential.ts';
import { loginCommand } from '../../credentials/login-required.ts';
import { displayUrl } from '../../display-url.ts';
import { HoldfastError, InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { isThere, programOnPath } from '../../system/files/client-file.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import { nearest } from '../arguments.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';

const IDS = CLIENTS.map(({ id }) => id);

export async function run(invocation: Invocation): Promise<number> {
  if (invocation.flag('list')) return list(invocation);
  const wanted = await wantedOf(invocation);
  if (invocation.flag('print') && !invocation.flag('remove')) return print(invocation, wanted);
  const outcome = await (invocation.flag('remove') ? unconfigure(wanted) : configure(wanted));
  tell(invocation, wanted, outcome);
  return EXIT.done;
}

async function wantedOf(invocation: Invocation): Promise<Wanted> {
  const { argument, second, environment } = invocation;
  const context: ProjectContext = { environment, directory: process.cwd() };
  const client = clientNamed(argument);
  if (second === undefined) {
    throw new InvalidArgumentError('holdfast configure needs the URL of an MCP server.', {
      hint: `Such as: holdfast configure ${client.id} https://mcp.example.com/mcp`,
    });
  }
  const login = {
    resource: canonicalResource(second),
    account: accountLabel(invocation.text('account')),
  };
  const helper = invocation.flag('headers-helper');
  if (helper && client.id !== 'claude-code') {
    throw new InvalidArgumentError(`${client.title} knows no helper for headers.`, {
      hint: 'Leave --headers-helper out: the entry then starts holdfast proxy.',
    });
  }
  const agent = invocation.text('agent');
  if (agent !== undefined && client.id !== 'docker-agent') {
    throw new InvalidArgumentError(`--agent is for docker-agent, not for ${client.title}.`);
  }
  const scope = scopeOf(invocation, client);
  const file = await chosenFile(invocation, client, scope, context);
  const program = await programOf(invocation, client);
  warnOf(invocation, client, scope, program, login.resource);
  return {
    client,
    login,
    scope,
    file,
    program,
    name: invocation.text('name'),
    agent,
    helper,
    force: invocation.flag('force'),
    dryRun: invocation.flag('print'),
  };
}

function clientNamed(name: string | undefined): Client {
  const client = CLIENTS.find(({ id }) => id === name);
  if (client !== undefined) return client;
  const near = name === undefined ? undefined : nearest(name, IDS);
  throw new InvalidArgumentError(
    name === undefined
      ? 'holdfast configure needs the name of a client.'
      : `holdfast configure knows no client ${quote(name, 40)}.`,
    { hint: near === undefined ? `It knows: ${IDS.join(', ')}` : `Did you mean: ${near}` },
  );
}

function scopeOf(invocation: Invocation, client: Client): Scope {
  const given = invocation.text('scope');
  if (given === undefined) return client.files.user === undefined ? 'project' : 'user';
  if (given !== 'user' && given !== 'project') {
    throw new InvalidArgumentError(`--scope ${quote(given, 40)} is neither user nor project.`);
  }
  if (client.files[given] === undefined && invocation.text('file') === undefined) {
    throw new InvalidArgumentError(`${client.title} has no file of its own for the scope ${given}.`, {
      hint: client.files.user === undefined ? 'Name the file: --file FILE' : 'Leave --scope out.',
    });
  }
  return given;
}

async function chosenFile(
  invocation: Invocation,
  client: Client,
  scope: Scope,
  context: ProjectContext,
): Promise<string> {
  const given = invocation.text('file');
  if (given !== undefined) return resolve(context.directory, given);
  const file = await fileOf(client, scope, context);
  if (file !== undefined) return file;
  // `--print` only shows the entry, so a default name will do.
  if (invocation.flag('print') && !invocation.flag('remove')) return resolve(context.directory, 'agent.yaml');
  throw new InvalidArgumentError(`${client.title} has a file for each agent.`, {
    hint: `Name it: holdfast configure ${client.id} URL --file agent.yaml`,
  });
}

/** The words that start this program on the client's side. */
async function programOf(invocation: Invocation, client: Client): Promise<readonly string[]> {
  const given = invocation.text('command');
  if (given === '') throw new InvalidArgumentError('--command is empty.');
  if (given !== undefined) return [given];
  const isOnPath = (await programOnPath('holdfast', invocation.environment)) !== undefined;
  if (isOnPath && client.needsAbsolute !== true) return ['holdfast'];
  // Names Node by its path too: a client that cannot find holdfast often cannot find node.
  return [process.execPath, ...process.argv.slice(1, 2)];
}

function warnOf(
  { ui, environment, ...invocation }: Invocation,
  client: Client,
  scope: Scope,
  program: readonly string[],
  resource: string,
): void {
  if (invocation.flag('remove')) return;
  const isAbsolute = program.length > 1;
  if (isAbsolute && /[\\/]_npx[\\/]/.test(program.join(' '))) {
    ui.warn(
      'The entry starts Holdfast out of the cache of npx, which npm may clear.',
      'Put holdfast on PATH and configure again, or name another program with --command.',
    );
  } else if (isAbsolute && scope === 'project') {
    ui.warn(
      'holdfast is not on PATH, so the entry names its place on this machine, in a file that others share.',
      'Put holdfast on PATH and configure again, or name another program with --command.',
    );
  }
  if (scope === 'project' && new URL(resource).search !== '') {
    ui.warn('The URL has a query, and stands in a file that others share.', 'See that it holds no key.');
  }
  for (const name of ['HOLDFAST_HOME', 'HOLDFAST_KEYRING', 'HOLDFAST_STORE']) {
    if (environment.variables[name]) {
      ui.warn(
        `${name} is set here, and ${client.title} may be started without it.`,
        'Set it for the client too, or the entry will not find the login.',
      );
    }
  }
}

async function print({ ui, ...invocation }: Invocation, wanted: Wanted): Promise<number> {
  const { name, entry, text } = await snippetOf(wanted);
  let outcome: Outcome | undefined;
  const hasFile = wanted.client.files.user !== undefined || invocation.text('file') !== undefined;
  try {
    if (hasFile) outcome = await configure(wanted);
  } catch (error) {
    // The printed entry is still useful: the user can add it by hand if the file cannot be written.
    if (!(error instanceof HoldfastError)) throw error;
    ui.warn(error.message);
  }
  if (ui.json) {
    ui.dataJson({
      action: outcome?.action,
      file: hasFile ? wanted.file : undefined,
      name: outcome?.name ?? name,
      entry,
      text,
    });
    return EXIT.done;
  }
  ui.data(text.trimEnd());
  if (outcome !== undefined) {
    const verb = {
      added: 'would be added to',
      updated: 'would be changed in',
      replaced: 'would be replaced in',
    };
    const { action } = outcome;
    const would = action in verb ? verb[action as keyof typeof verb] : 'is there already in';
    ui.note(`${outcome.name} ${would} ${shellPath(outcome.file)}. Nothing was touched.`);
    warnOfAdditions(ui, outcome.name, outcome.additions);
  }
  return EXIT.done;
}

function tell({ ui, ...invocation }: Invocation, wanted: Wanted, outcome: Outcome): void {
  const { client, login } = wanted;
  const { action, name, entry, file, additions } = outcome;
  const isDry = wanted.dryRun === true;
  if (ui.json) {
    // Another program's entry is not shown, since it may be secret.
    const shown = action === 'removed' || action === 'absent' ? {} : { entry };
    const { id } = client;
    ui.dataJson({ action, client: id, scope: wanted.scope, file, name, ...shown, additions, dryRun: isDry });
    return;
  }
  const where = `${shellPath(file)}${file === wanted.file ? '' : ` (through ${shellPath(wanted.file)})`}`;
  if (action === 'absent') {
    ui.note(`There is no entry of Holdfast for that login in ${where}, so nothing was done.`);
    return;
  }
  if (action === 'removed') {
    ui.note(`${isDry ? 'Would remove' : 'Removed'} ${name} from ${where}.`);
    return;
  }
  if (action === 'unchanged') {
    ui.note(`${name} is in ${where} already; nothing was changed.`);
    warnOfAdditions(ui, name, additions);
    return;
  }
  const verb = { added: 'Added', updated: 'Updated', replaced: 'Replaced' }[action];
  ui.note(`${verb} ${name} in ${where}.`);
  warnOfAdditions(ui, name, additions);
  ui.note(
    `  Start ${client.title} again, and log in if you have not: ${loginCommand(login.resource, login.account)}`,
  );
  const scope = invocation.text('scope') === undefined ? '' : ` --scope ${wanted.scope}`;
  const own = invocation.text('file') === undefined ? '' : ` --file ${shellPath(wanted.file)}`;
  const account = login.account === 'default' ? '' : ` --account ${shellPath(login.account)}`;
  ui.note(
    `  To take it out: holdfast configure ${client.id} ${shellPath(login.resource)}${account}${scope}${own} --remove`,
  );
}

/** A repository may contain an entry that starts Holdfast with its author's options. */
function warnOfAdditions(ui: Invocation['ui'], name: string, additions: readonly string[] | undefined): void {
  if (additions === undefined) return;
  ui.warn(
    `${name} also has ${namesOf(additions)}, which Holdfast did not write.`,
    'Keep them only if you put them there. To write the entry without them: add --force',
  );
}

function namesOf(additions: readonly string[]): string {
  const [shown, more] = [additions.slice(0, 8), additions.length - 8];
  return shown.map((one) => quote(one, 60)).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

async function list(invocation: Invocation): Promise<number> {
  const { ui, environment, argument } = invocation;
  const context: ProjectContext = { environment, directory: process.cwd() };
  const chosen = argument === undefined ? CLIENTS : [clientNamed(argument)];
  const given = invocation.text('file');
  if (given !== undefined && argument === undefined) {
    throw new InvalidArgumentError('--list does not know whose file that is.', {
      hint: 'Name the client: holdfast configure CLIENT --list --file FILE',
    });
  }
  const own = given === undefined ? undefined : resolve(context.directory, given);
  const rows = [];
  for (const client of chosen) {
    const program = await programOf(invocation, client);
    const marks = await Promise.all(client.marks(context).map(isThere));
    const onPath = client.program && (await programOnPath(client.program, environment));
    const files: (Awaited<ReturnType<typeof entriesOrProblem>> & { scope: Scope; path: string })[] = [];
    for (const scope of ['user', 'project'] as const) {
      const path = own ?? (await fileOf(client, scope, context));
      if (path === undefined || files.some((one) => one.path === path) || !(await isThere(path))) continue;
      files.push({ scope, path, ...(await entriesOrProblem(client, path, program, scope)) });
    }
    const found = marks.includes(true) || onPath !== undefined || files.some(({ scope }) => scope === 'user');
    rows.push({ client: client.id, title: client.title, found, files });
  }
  if (ui.json) {
    ui.dataJson({ clients: rows });
    return EXIT.done;
  }
  for (const { client, title, found, files } of rows) {
    ui.data(
      `${client.padEnd(14)}  ${found ? title : ui.style('dim', `${title} was not found here`, 'stdout')}`,
    );
    for (const { path, entries, problem } of files) {
      ui.data(`  ${shellPath(path)}`);
      if (problem !== undefined) ui.data(`    ${problem}`);
      for (const { name, resource, account, kind, additions } of entries) {
        const also = additions === undefined ? '' : ` (also has ${namesOf(additions)})`;
        const as = account === 'default' ? '' : ` as ${quote(account, 80)}`;
        ui.data(
          `    ${quote(name, 80).slice(1, -1)}: ${displayUrl(resource)}${as}${kind === 'headers' ? ' (headers)' : ''}${also}`,
        );
      }
    }
  }
  return EXIT.done;
}

async function entriesOrProblem(client: Client, path: string, program: readonly string[], scope: Scope) {
  try {
    return { entries: await entriesOf(client, path, program, scope), problem: undefined };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { entries: [], problem: error.message };
  }
}
