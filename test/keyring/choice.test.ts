import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, KeyringLockedError, StorageUnsafeError } from '../../src/errors.ts';
import type { Keyring, KeyringOpener, KeyringProbe } from '../../src/keyring/keyring.ts';
import { MemoryKeyring } from '../../src/keyring/memory.ts';
import { KEYCTL_SCOPES } from '../../src/keyring/native/keyctl-scope.ts';
import { defaultOpeners, KeyringResolution, resolveKeyrings } from '../../src/keyring/resolve.ts';
import { type Home, temporaryHome } from '../support/homes/home.ts';
import { holdfast } from '../support/processes/process.ts';

interface Asked extends KeyringOpener {
  asked: number;
}

/** A candidate that counts how often it was asked. */
function candidate(
  id: string,
  probe: KeyringProbe = { status: 'usable', lifetime: 'disk' },
  named: Partial<KeyringOpener> = {},
): Asked {
  const items = new MemoryKeyring();
  const keyring: Keyring = {
    id,
    tier: 'native',
    probe: async () => probe,
    get: (name) => items.get(name),
    set: (name, secret) => items.set(name, secret),
    delete: (name) => items.delete(name),
    close: async () => {},
  };
  const opener: Asked = {
    id,
    tier: 'native',
    ...named,
    asked: 0,
    open: async () => {
      opener.asked += 1;
      return keyring;
    },
  };
  return opener;
}

const LOCKED: KeyringProbe = { status: 'locked', reason: 'It is locked.', hint: 'Unlock it.' };

async function ids(resolution: KeyringResolution): Promise<string[]> {
  const found: string[] = [];
  for await (const { keyring } of resolution.usable()) found.push(keyring.id);
  return found;
}

async function configuredHome(config: string): Promise<Home> {
  const home = await temporaryHome();
  await mkdir(home.path, { mode: 0o700 });
  await writeFile(home.layout.config, config, { mode: 0o600 });
  return home;
}

async function choiceIn({ environment, layout }: Home, keyring?: string): Promise<string> {
  const openers = [candidate('one'), candidate('two'), candidate('three')];
  return resolveKeyrings(environment, layout, { openers, keyring }).choice();
}

describe('the choice of a keyring', () => {
  test('takes the keyring from the option, else from HOLDFAST_KEYRING, else from config.json', async () => {
    const home = await configuredHome('{"keyring": "three"}');
    const inVariable: Home = {
      ...home,
      environment: {
        ...home.environment,
        variables: { ...home.environment.variables, HOLDFAST_KEYRING: 'two' },
      },
    };
    expect(await choiceIn(inVariable, 'one')).toBe('one');
    expect(await choiceIn(inVariable)).toBe('two');
    expect(await choiceIn(home)).toBe('three');
    expect(await choiceIn(await temporaryHome())).toBe('auto');
    // The option for this one run overrides the configuration.
    expect(await choiceIn(home, 'auto')).toBe('auto');
  });

  test('reads config.json only if nothing else chose a keyring, and ignores its other fields', async () => {
    const broken = await configuredHome('{');
    expect(await choiceIn(broken, 'one')).toBe('one');
    expect(await choiceIn(await configuredHome('{"servers": {"x": []}, "keyring": "two"}'))).toBe('two');
    expect(await choiceIn(await configuredHome('{"servers": {}}'))).toBe('auto');
  });

  test.each([
    ['{"keyring": "file",\n "servers": nope}', 'line 2, column 14'],
    ['{"keyring": "file",}', 'line 1, column 20'],
    ['{"keyring": "file"', 'line 1, column 19'],
    ['', 'line 1, column 1'],
    ['["file"]', 'does not hold an object'],
    ['{"keyring": 3}', '"keyring" is not the name of a keyring'],
    ['{"keyring": "nonsense"}', 'config.json: There is no keyring "nonsense"'],
    ['{"keyring": "keyctl"}', 'config.json: The kernel keyring is used only with a named scope'],
  ])('names the line and column of an error in config.json: %s', async (config, said) => {
    const home = await configuredHome(config);
    const choice = choiceIn(home);
    await expect(choice).rejects.toThrow(InvalidArgumentError);
    await expect(choice).rejects.toThrow(said);
    await expect(choice).rejects.toThrow('config.json');
  });

  test('refuses a config.json that others could have written', async () => {
    const loose = await configuredHome('{"keyring": "one"}');
    await chmod(loose.layout.config, 0o666);
    await expect(choiceIn(loose)).rejects.toThrow(StorageUnsafeError);
    const linked = await temporaryHome();
    await mkdir(linked.path, { mode: 0o700 });
    await symlink(join(loose.path, 'config.json'), linked.layout.config);
    await expect(choiceIn(linked)).rejects.toThrow();
  });

  test('never falls back from a keyring that config.json chose, as from one on the command line', async () => {
    const home = await configuredHome('{"keyring": "one"}');
    const openers = [candidate('one', LOCKED), candidate('two')];
    const resolution = resolveKeyrings(home.environment, home.layout, { openers });
    await expect(ids(resolution)).rejects.toThrow(KeyringLockedError);
    expect(resolution.explicit).toBe(true);
    expect(openers[1]?.asked).toBe(0);
  });
});

describe('the kernel keyring', () => {
  test('uses the kernel keyring only if it is named with its scope', async () => {
    const { environment, layout } = await temporaryHome();
    const openers = defaultOpeners({ ...environment, platform: 'linux' }, layout);
    const named = openers
      .filter(({ tier, onlyWhenNamed }) => tier === 'native' && onlyWhenNamed)
      .map(({ id }) => id);
    expect(named).toEqual(KEYCTL_SCOPES.map((scope) => `keyctl:${scope}`));
    for (const choice of ['auto', 'native']) {
      const here = [
        candidate('one', LOCKED),
        candidate('keyctl:user', undefined, { onlyWhenNamed: true }),
        candidate('two'),
      ];
      expect(await ids(new KeyringResolution({ openers: here, choice }))).toEqual(['two']);
    }
    const here = [candidate('one'), candidate('keyctl:user', undefined, { onlyWhenNamed: true })];
    const resolution = new KeyringResolution({ openers: here, choice: 'keyctl:user' });
    expect(await ids(resolution)).toEqual(['keyctl:user']);
  });

  test('refuses keyctl without a scope, and lists the scopes and how long each lasts', async () => {
    const { environment, layout } = await temporaryHome();
    const openers = defaultOpeners({ ...environment, platform: 'linux' }, layout);
    let error: unknown;
    try {
      new KeyringResolution({ openers, choice: 'keyctl' });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InvalidArgumentError);
    const hint = error instanceof InvalidArgumentError ? error.hint : '';
    for (const scope of KEYCTL_SCOPES) expect(hint).toContain(`keyctl:${scope} (`);
    expect(hint).toContain('keyctl:user (until the next boot)');
  });

  test('ends the command with exit code 2 for keyctl without a scope', async () => {
    const { path } = await temporaryHome();
    const { code, err } = await holdfast(['list', '--keyring', 'keyctl'], { HOLDFAST_HOME: path }).ended;
    expect(code).toBe(2);
    expect(err).toContain('keyctl:session');
  });
});

describe('two names for one store', () => {
  const pair = (first?: KeyringProbe) => [
    candidate('secret-service', first),
    candidate('kwallet', undefined, { servedBy: 'secret-service' }),
    candidate('other'),
  ];

  test('does not ask the weaker of two names for one store while the stronger works, and says why', async () => {
    const openers = pair();
    const resolution = new KeyringResolution({ openers });
    expect(await ids(resolution)).toEqual(['secret-service', 'other']);
    expect(openers[1]?.asked).toBe(0);
    expect(resolution.reports()[1]).toEqual({
      id: 'kwallet',
      tier: 'native',
      outcome: 'not-tried',
      reason: 'secret-service serves, and where both are they are one store',
    });
  });

  test('asks the weaker of two names for one store if the stronger fails or the weaker was chosen', async () => {
    expect(await ids(new KeyringResolution({ openers: pair(LOCKED) }))).toEqual(['kwallet', 'other']);
    expect(await ids(new KeyringResolution({ openers: pair(), choice: 'kwallet' }))).toEqual(['kwallet']);
  });
});
