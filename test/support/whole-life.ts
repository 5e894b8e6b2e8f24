/** Does everything that a vault can do without a person, closes it, and says so. It must then end by itself. */
import { openVault } from '../../src/index.ts';

const [resource = ''] = process.argv.slice(2);
const vault = openVault();
await vault.token(resource);
await vault.headers(resource);
await vault.list();
vault.tiers();
await vault.rekey();
await vault.token(resource).catch(() => {});
await vault.logout('https://mcp.example.com/not-logged-in');
await vault.close();
process.stdout.write('closed\n');
