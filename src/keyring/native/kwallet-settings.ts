import { isAbsolute, join } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import type { Environment } from '../../system/environment.ts';
import { readGivenFile } from '../../system/files/given-file.ts';

/** Settings in the user's `kwalletrc` that no D-Bus call reveals without a prompt. */
export interface KWalletSettings {
  /** Whether KWallet is switched on; otherwise the daemon exits. */
  readonly enabled: boolean;
  /** Whether the program's first access to an open wallet prompts a person. */
  asksFor(wallet: string, application: string): boolean;
}

const MAX_BYTES = 256 * 1024;

/** Reads the file each time. KWallet's defaults apply when the file is missing or unreadable. */
export async function readKWalletSettings(environment: Environment): Promise<KWalletSettings> {
  const { variables, homeDirectory } = environment;
  const xdg = variables['XDG_CONFIG_HOME'];
  const directory = xdg && isAbsolute(xdg) ? xdg : join(homeDirectory, '.config');
  const settings = await readSettings(join(directory, 'kwalletrc'));
  const isTrue = (text: string | undefined, otherwise: boolean) =>
    text === undefined ? otherwise : ['true', 'on', 'yes', '1'].includes(text.toLowerCase());
  return {
    enabled: isTrue(settings.get('Wallet/Enabled'), true),
    asksFor: (wallet, application) => {
      const allowed = settings.get(`Auto Allow/${wallet}`)?.split(',') ?? [];
      return isTrue(settings.get('Wallet/Prompt on Open'), false) && !allowed.includes(application);
    },
  };
}

/** KDE's variant of an INI file: `[Group]`, then `Key=value`; a key may end with a flag such as `[$i]`. */
async function readSettings(path: string): Promise<ReadonlyMap<string, string>> {
  const settings = new Map<string, string>();
  let group = '';
  for (const line of (await textOf(path)).split('\n')) {
    const [, name] = /^\[(.*)\]\s*$/.exec(line) ?? [];
    if (name !== undefined) group = name;
    const [, key, value] = /^([^=[]+?)\s*(?:\[[^\]]*\])?\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) settings.set(`${group}/${key}`, value);
  }
  return settings;
}

async function textOf(path: string): Promise<string> {
  try {
    return (await readGivenFile(path, { maxBytes: MAX_BYTES }))?.toString('utf8') ?? '';
  } catch (error) {
    if (error instanceof HoldfastError) return '';
    throw error;
  }
}
