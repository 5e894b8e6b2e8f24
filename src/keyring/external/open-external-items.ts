import type { Environment } from '../../system/environment.ts';
import { openKeychain } from '../native/keychain.ts';
import { openWincred } from '../native/wincred.ts';
import { type ExternalItems, type ExternalLayout, NamedItems } from './external-item.ts';
import { ExternalSecretService } from './external-secret-service.ts';

/** The platform's own name for its keyring, for messages. */
export function osKeyringName({ platform }: Environment): string {
  if (platform === 'darwin') return 'Keychain';
  return platform === 'win32' ? 'Credential Manager' : 'Secret Service';
}

/**
 * Opens the items of a service.
 *
 * @throws KeyringAbsentError when the platform has no OS keyring; nothing was changed
 * @throws KeyringBrokenError when the keyring does not answer
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
