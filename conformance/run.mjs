/*
 * `npm run conformance`: the official MCP conformance suite against Holdfast. Without arguments it runs the four sets
 * that Holdfast must pass in full; else the named sets:
 *
 *     node conformance/run.mjs [--through-proxy] [--requirements <revision>]... [--suite <name>]... [--scenario <name>]...
 *                              [--lenient <name>]... [--verbose]
 *     node conformance/run.mjs --inspector
 *
 * With --through-proxy the client under test knows no OAuth and has `holdfast proxy` as its server. With --inspector it
 * is the command line of the official MCP Inspector; see inspector.ts.
 *
 * The runner needs Node 22. It is installed in this folder, with its own package.json, and the Inspector in a folder
 * below. The client under test and the proxy run on the Node that runs this script. All output files go to a temporary
 * directory, which is removed.
 *
 * In a set, the runner ignores a warning in a scenario of `--requirements`, and a client that wrongly ends with an
 * error. Here a warning fails its scenario. Each scenario that the client gave up on runs once more alone, since then
 * the runner checks the exit code too. Exits with 1 if a scenario that counts failed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = join(HERE, '..');
const RUNNER = join(HERE, 'node_modules/@modelcontextprotocol/conformance');
const NODE_22 = join(HERE, 'node_modules/node/bin/node');
const INSTALL_TRIES = 3;

/**
 * Time limit for one client, in milliseconds. It is long, since all clients of a set start at once, on 2 cores or 64.
 */
const CLIENT_TIMEOUT_MS = 120_000;

/** Servers of 2025-03-26 may have no metadata at all. A strict client rejects such a server for a login. */
const LENIENT = { backcompat: ['pkce-not-advertised', 'legacy-endpoints'] };

const { values } = parseArgs({
  options: {
    requirements: { type: 'string', multiple: true, default: [] },
    suite: { type: 'string', multiple: true, default: [] },
    scenario: { type: 'string', multiple: true, default: [] },
    lenient: { type: 'string', multiple: true, default: [] },
    'through-proxy': { type: 'boolean', default: false },
    inspector: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});
const named = [
  ...values.requirements.map((revision) => ({ kind: 'requirements', name: revision })),
  ...values.suite.map((suite) => ({ kind: 'suite', name: suite })),
  ...values.scenario.map((scenario) => ({ kind: 'scenario', name: scenario })),
];
const sets =
  named.length > 0
    ? named
    : [
        { kind: 'requirements', name: '2026-07-28' },
        { kind: 'requirements', name: '2025-11-25' },
        { kind: 'suite', name: 'extensions' },
        { kind: 'suite', name: 'backcompat' },
      ];

const place = mkdtempSync(join(tmpdir(), 'holdfast-conformance-'));
/** The runner and its clients, in their own process group. */
let running;
process.on('exit', () => {
  try {
    if (running !== undefined) process.kill(-running);
  } catch {
    // The process has just ended.
  }
  rmSync(place, { recursive: true, force: true, maxRetries: 10 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

install(HERE);
if (values.inspector) process.exit(await inspect());
const client = await clientCommand().catch(() => {
  // esbuild has printed its errors on stderr.
  process.exit(1);
});
for (const set of sets) {
  const began = performance.now();
  const { scenarios, amiss } = await judge(set);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const counted = scenarios.filter(({ scored }) => scored);
  const passed = counted.filter(({ problem }) => problem === undefined);
  // A set without results has not passed.
  const good = counted.length > 0 && passed.length === counted.length && amiss === undefined;
  if (!good) process.exitCode = 1;
  console.log(
    `${good ? 'ok  ' : 'FAIL'} --${set.kind} ${set.name}: ${passed.length} of ${counted.length} in ${seconds} s`,
  );
  if (amiss !== undefined) console.log(`     the run: ${amiss}`);
  for (const { name, scored, problem } of scenarios) {
    if (problem !== undefined) console.log(`     ${name}${scored ? '' : ' (does not count)'}: ${problem}`);
  }
}

/** Installs the packages of a folder's package.json, in the versions of its lock file. */
function install(folder) {
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const isThere = ([name, version]) => installedVersion(folder, name) === version;
  if (Object.entries(dependencies).every(isThere) && spawnSync(NODE_22, ['--version']).status === 0) return;
  for (let tries = 1; ; tries += 1) {
    console.error(`Installing ${Object.keys(dependencies).join(' and ')} into ${folder}`);
    const { status } = spawnSync(
      'npm',
      ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel=error'],
      {
        cwd: folder,
        stdio: ['ignore', 2, 2],
        shell: process.platform === 'win32',
      },
    );
    if (status === 0) return;
    if (tries === INSTALL_TRIES) {
      console.error(`npm ci did not succeed in ${folder}: is the registry reachable?`);
      process.exit(1);
    }
  }
}

function installedVersion(folder, name) {
  try {
    return JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')).version;
  } catch {
    return undefined;
  }
}

/** The command and arguments of the client under test, without the URL. */
async function clientCommand() {
  if (!values['through-proxy']) return [process.execPath, await bundled('client', 'conformance/client.ts')];
  return [
    process.execPath,
    await bundled('through-proxy', 'conformance/through-proxy.ts'),
    '--holdfast',
    await bundled('holdfast', 'src/cli/bin.ts'),
    '--browser',
    join(ROOT, 'test/support/browser/scripted-browser.mjs'),
  ];
}

/**
 * Runs inspector.ts.
 *
 * @returns its exit code
 */
async function inspect() {
  install(join(HERE, 'inspector'));
  const files = {
    holdfast: await bundled('holdfast', 'src/cli/bin.ts'),
    servers: await bundled('sdk-servers', 'conformance/sdk-servers.ts'),
    node: NODE_22,
    place,
  };
  const options = Object.entries(files).flatMap(([name, file]) => [`--${name}`, file]);
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--import', 'tsx', join(HERE, 'inspector.ts'), ...options],
    { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], detached: true },
  );
  running = child.pid;
  const [code] = await once(child, 'close');
  running = undefined;
  return code ?? 1;
}

/** Bundles into one file: forty clients that load TypeScript at once would wait for the compiler. */
async function bundled(name, source) {
  const outfile = join(place, `${name}.cjs`);
  await build({
    entryPoints: [join(ROOT, source)],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'error',
    plugins: [
      {
        name: 'native modules stay where they are installed',
        setup: (builder) => {
          builder.onResolve({ filter: /^koffi$/ }, () => ({
            path: fileURLToPath(import.meta.resolve('koffi')),
            external: true,
          }));
        },
      },
      {
        name: 'no test ends, so what is to be done then is not',
        setup: (builder) => {
          builder.onResolve({ filter: /^vitest$/ }, () => ({ path: 'vitest', namespace: 'none' }));
          builder.onLoad({ filter: /.*/, namespace: 'none' }, () => ({
            contents: 'export const onTestFinished = () => {};',
          }));
        },
      },
    ],
  });
  return outfile;
}

/** Runs every scenario of a set at once, as the runner does. Also returns other problems. */
async function judge({ kind, name }) {
  if (kind === 'scenario') return { scenarios: [await judgeAlone(name, [], values.lenient)] };
  const lenient = [...(LENIENT[name] ?? []), ...values.lenient];
  const { code, output, said } = await run([`--${kind}`, name], lenient);
  const lines = output.split('\n');
  const unscored = new Set(lines.map((line) => /^ {2}[✓✗] (\S+) \(/.exec(line)?.[1]));
  const scenarios = lines.flatMap((line) => {
    const [, mark, scenario, counts] = /^([✓✗-]) ([^\s:]+): (.*)$/.exec(line) ?? [];
    if (scenario === undefined) return [];
    const problem =
      mark === '✓' ? undefined : [counts, ...(said.get(scenario)?.held ?? [])].join('\n       ');
    return [{ name: scenario, scored: !unscored.has(scenario), problem }];
  });
  const revision = kind === 'requirements' ? ['--spec-version', name, '--force'] : [];
  for (const scenario of scenarios) {
    if (scenario.problem === undefined && said.get(scenario.name)?.gaveUp) {
      scenario.problem = (await judgeAlone(scenario.name, revision, lenient)).problem;
    }
  }
  return { scenarios, amiss: whatElse(code, output, said, scenarios) };
}

/** The problems that the runner's list of scenarios omits. */
function whatElse(code, output, said, scenarios) {
  const count = (pattern) => output.match(pattern)?.length ?? 0;
  if (count(/^Client timed out/gm) > 0) return `clients were ended after ${CLIENT_TIMEOUT_MS} ms`;
  const explained = [...said.values()].filter(({ gaveUp }) => gaveUp).length;
  const ended = count(/^Client exited with code/gm);
  if (ended !== explained) return `${ended} clients ended with an error, and ${explained} said why`;
  const allGood = scenarios.every(({ scored, problem }) => !scored || problem === undefined);
  return code !== 0 && allGood ? `the runner ended with ${code}\n${output}` : undefined;
}

/** Runs one scenario alone: then the runner's own exit code depends on the client's. */
async function judgeAlone(name, more, lenient) {
  const { code, output, said } = await run(['--scenario', name, ...more], lenient);
  if (code === 0 && said.size === 1) return { name, scored: true, problem: undefined };
  const held = said.get(name)?.held ?? [output];
  return { name, scored: true, problem: ['it fails by itself', ...held].join('\n       ') };
}

/** The failed checks of each scenario, and whether the client ended with an error. */
function checksThatFailed(results) {
  const found = new Map();
  if (!existsSync(results)) return found;
  const files = readdirSync(results, { recursive: true }).filter((file) => file.endsWith('checks.json'));
  for (const file of files) {
    const scenario = dirname(file).replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, '');
    const checks = JSON.parse(readFileSync(join(results, file), 'utf8'));
    const error = readFileSync(join(results, dirname(file), 'stderr.txt'), 'utf8').trim();
    const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
    found.set(scenario, {
      gaveUp: error.includes('Could not use the server: '),
      held: [
        ...bad.map(
          ({ status, id, errorMessage, description }) => `${status} ${id}: ${errorMessage ?? description}`,
        ),
        ...(error === '' ? [] : [`the client: ${error.replaceAll('\n', '\n       ')}`]),
      ],
    });
  }
  return found;
}

/**
 * Runs the runner. The clients' homes are in this run's directory too, in case a client is killed before it removes its
 * own.
 */
async function run(options, lenient) {
  const temporary = mkdtempSync(join(place, 'run-'));
  const results = join(temporary, 'results');
  const command = [...client, ...lenient.flatMap((name) => ['--lenient', name])];
  const runner = spawn(
    NODE_22,
    [
      join(RUNNER, 'dist/index.js'),
      'client',
      '--command',
      // A shell runs this command. Without `exec`, a slow client would outlive the shell, and the runner would wait
      // forever.
      `exec ${command.map((part) => `'${part}'`).join(' ')}`,
      '--timeout',
      String(CLIENT_TIMEOUT_MS),
      '--output-dir',
      results,
      ...options,
    ],
    {
      cwd: place,
      env: { PATH: process.env.PATH, HOME: place, TMPDIR: temporary },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  );
  running = runner.pid;
  let output = '';
  for (const stream of [runner.stdout, runner.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const code = await new Promise((resolve, reject) => runner.on('error', reject).on('close', resolve));
  running = undefined;
  // The output contains the scenario's keys and secrets.
  output = output.replace(/^With context: .*$/gm, 'With context: [left out]');
  if (values.verbose) process.stderr.write(output);
  return { code, output, said: checksThatFailed(results) };
}
