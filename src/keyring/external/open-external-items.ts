import type { Environment } from '../../system/environment.ts';
import { openKeychain } from '../native/keychain.ts';
import { openWincred } from '../native/wincred.ts';
import { type ExternalItems, type ExternalLayout, NamedItems } from './external-item.ts';
import { ExternalSecretService } from './external-secret-service.ts';

/** What the OS keyring is called here, as a person knows it. */
export function osKeyringName({ platform }: Environment): string {
  if (platform === 'darwin') return 'Keychain';
  return platform === 'win32' ? 'Credential Manager' : 'Secret Service';
}

/**
 * Opens the items of that service.
 *
 * @throws KeyringAbsentError where there is no OS keyring: nothing was touched
 * @throws KeyringBrokenError when it does not answer
 */
export async function openExternalItems(
  environment: Environment,
  service: string,
  layout: ExternalLayout,
): Promise<ExternalItems> {
  switch (environment.platform) {
    case 'darwin':
      return new NamedItems(await openKeychain(environment, { service }), 'utf8');
    case 'win32':
      return layout === 'keytar'
        ? new NamedItems(await openWincred(environment, { targets: (item) => `${service}/${item}` }), 'utf8')
        : new NamedItems(
            await openWincred(environment, { targets: (item) => `${item}.${service}` }),
            'utf16le',
          );
    default:
      return ExternalSecretService.open(environment, service);
  }
}
