import { loginCommand } from '../../credentials/login-required.ts';
import { migratable, type StoreStatus, storeStatus } from '../../doctor/store-status.ts';
import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Listing } from '../../vault/types.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { withVault } from '../open-vault.ts';
import type { Ui } from '../output/ui.ts';
import { plural, wrap } from '../output/words.ts';

const ACTIONS: Readonly<Record<string, (invocation: Invocation) => Promise<number>>> = { status, migrate };

/** A step that takes longer reports its start, in milliseconds. */
const LONG_MS = 1000;

const MARKS = { ok: ['ok', 'green'], warning: ['warn', 'yellow'], error: ['fail', 'red'] } as const;
const MARK_WIDTH = 6;

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '' } = invocation;
  const action = Object.hasOwn(ACTIONS, argument) ? ACTIONS[argument] : undefined;
  if (action !== undefined) return action(invocation);
  throw new InvalidArgumentError(`holdfast store knows no ${quote(argument, 40)}.`, {
    hint: 'It takes: status, migrate',
  });
}

async function status(invocation: Invocation): Promise<number> {
  const { ui, environment } = invocation;
  if (invocation.flag('print')) {
    throw new InvalidArgumentError('--print belongs to holdfast store migrate.', {
      hint: 'See: holdfast store --help',
    });
  }
  return withVault(invocation, async (vault) => {
    const found = await sayingIfLong(ui, 'Asking the store', storeStatus(vault.admin.store, environment));
    const listing = invocation.flag('open')
      ? await sayingIfLong(ui, 'Opening every record', vault.list())
      : undefined;
    const states = listing && statesOf(listing);
    if (ui.json) ui.dataJson({ ...found, states });
    else ui.data(shown(found, states, ui));
    for (const { resource, account } of states?.loginRequired ?? [])
      ui.note(`Log in again: ${loginCommand(resource, account)}`);
    return found.findings.some(({ level }) => level === 'error') ? EXIT.store : EXIT.done;
  });
}

async function migrate(invocation: Invocation): Promise<number> {
  const { ui } = invocation;
  return withVault(invocation, async (vault) => {
    const engine = await migratable(vault.admin.store);
    if (invocation.flag('print')) {
      ui.dataExact(engine.migration().trimEnd());
      return EXIT.done;
    }
    await sayingIfLong(ui, 'Making the tables', engine.migrate());
    const findings = await engine.examine();
    const problems = findings.filter(({ level }) => level !== 'ok');
    if (ui.json) ui.dataJson({ store: engine.id, findings });
    else for (const finding of problems) ui.warn(finding.message, finding.hint);
    ui.note(`The tables of ${engine.id} are those that this Holdfast needs.`);
    return problems.some(({ level }) => level === 'error') ? EXIT.store : EXIT.done;
  });
}

interface States {
  readonly fresh: number;
  readonly due: number;
  readonly undecryptable: number;
  readonly loginRequired: readonly { readonly resource: string; readonly account: string }[];
}

function statesOf({ credentials, undecryptable }: Listing): States {
  const loginRequired = credentials.filter(({ state }) => state === 'login-required');
  const fresh = credentials.filter(({ state }) => state === 'fresh').length;
  return {
    fresh,
    due: credentials.length - fresh - loginRequired.length,
    undecryptable: undecryptable.length,
    loginRequired: loginRequired.map(({ resource, account }) => ({ resource, account })),
  };
}

function shown(found: StoreStatus, states: States | undefined, ui: Ui): string {
  const { store, tenant, counts, clock, spilled, findings } = found;
  const rows: (readonly [string, string])[] = [
    ['store', tenant === undefined ? store : `${store}, tenant ${tenant}`],
    ...(counts === undefined ? [] : countRows(counts)),
    ...(clock === undefined ? [] : [['clock', clockText(clock)] as const]),
    ['waiting here', spilled === 0 ? 'nothing' : `${plural(spilled, 'answer', 'answers')} to be stored`],
    ...(states === undefined
      ? []
      : [
          [
            'by state',
            `${states.fresh} fresh, ${states.due} due, ${states.loginRequired.length} login required, ${states.undecryptable} not opened`,
          ] as const,
        ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}${value}`),
    ...findings.map(({ level, message, hint }) => {
      const [mark, colour] = MARKS[level];
      const head = `${ui.style(colour, mark, 'stdout')}${' '.repeat(MARK_WIDTH - mark.length)}`;
      const line = `${head}${wrap(message, ui.columns, MARK_WIDTH)}`;
      return hint === undefined ? line : `${line}\n${' '.repeat(MARK_WIDTH)}→ ${hint}`;
    }),
  ].join('\n');
}

function countRows(counts: NonNullable<StoreStatus['counts']>): (readonly [string, string])[] {
  const { damaged, late } = counts.aside;
  const aside: readonly [string, string] = ['set aside', `${damaged} damaged, ${late} late`];
  if (!('claims' in counts)) return [['records', String(counts.records)], aside];
  const silent =
    counts.oldestSilentMs === undefined
      ? ''
      : `; the longest silent one lapsed ${plural(Math.round(counts.oldestSilentMs / 1000), 'second', 'seconds')} ago`;
  return [
    ['records', `${counts.records}, ${counts.writtenLastHour} written within the last hour`],
    ['open claims', `${counts.claims}${silent}`],
    aside,
  ];
}

function clockText({ aheadMs, errorMs }: NonNullable<StoreStatus['clock']>): string {
  const within = `give or take ${errorMs} ms`;
  if (Math.abs(aheadMs) <= errorMs) return `as the engine’s, ${within}`;
  return `${Math.abs(aheadMs)} ms ${aheadMs > 0 ? 'ahead of' : 'behind'} the engine’s, ${within}`;
}

async function sayingIfLong<T>(ui: Ui, what: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => ui.progress(what), LONG_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
