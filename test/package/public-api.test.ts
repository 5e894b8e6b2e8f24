import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

/*
 * The exports of the package as TypeScript declares them, without comments. A commit that changes them shows the change
 * line by line here: `npx vitest run test/package/public-api -u` writes the file.
 */

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
}

/** Source files of the entry points, by name. */
function entryPoints(): ReadonlyMap<string, string> {
  const { exports } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as Manifest;
  return new Map(
    Object.entries(exports).flatMap(([name, target]) =>
      typeof target === 'string'
        ? []
        : [
            [
              name.replace(/^\./, 'holdfast'),
              ROOT + target.types.replace(/^\.\/dist/, 'src').replace('.d.ts', '.ts'),
            ],
          ],
    ),
  );
}

/** Compiles the entry points. @returns the program and the emitted declarations, by source file */
function declared(roots: readonly string[]) {
  const { config } = ts.readConfigFile(`${ROOT}tsconfig.build.json`, (path) => ts.sys.readFile(path)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const program = ts.createProgram({
    rootNames: [...roots],
    options: { ...options, removeComments: true, emitDeclarationOnly: true },
  });
  const declarations = new Map<string, ts.SourceFile>();
  program.emit(undefined, (path, text, _mark, _error, sources) => {
    const [source] = sources ?? [];
    if (source === undefined || !path.endsWith('.d.ts')) return;
    declarations.set(source.fileName, ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  });
  return { checker: program.getTypeChecker(), program, declarations };
}

function namesIn(statement: ts.Statement): readonly string[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map(({ name }) => name.getText());
  }
  const { name } = statement as ts.DeclarationStatement;
  return name === undefined ? [] : [name.text];
}

test('the package exports what test/package/public-api.txt says', { timeout: 120_000 }, async () => {
  const entries = entryPoints();
  const { checker, program, declarations } = declared([...entries.values()]);
  const sections: string[] = [];
  let count = 0;
  for (const [entry, path] of entries) {
    const source = program.getSourceFile(path);
    const module = source && checker.getSymbolAtLocation(source);
    const lines = (module === undefined ? [] : checker.getExportsOfModule(module)).map((symbol) => {
      const own = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      count += 1;
      const texts = (own.declarations ?? []).flatMap((declaration) => {
        const file = declarations.get(declaration.getSourceFile().fileName);
        const found = file?.statements.filter((one) => namesIn(one).includes(own.name)) ?? [];
        return found.map((one) => one.getText().replace(/^export declare |^export |^declare /, ''));
      });
      return `${symbol.name}\n${[...new Set(texts)].join('\n').replace(/^/gm, '    ')}`;
    });
    sections.push(`# ${entry}\n\n${lines.toSorted().join('\n\n')}`);
  }
  const text = `${sections.join('\n\n')}\n`;
  expect(count).toBeGreaterThan(50);
  await expect(text).toMatchFileSnapshot('./public-api.txt');
});

test('every type in a public declaration is public itself', { timeout: 120_000 }, () => {
  const entries = [...entryPoints().values()];
  const { checker, program } = declared(entries);
  const symbols = entries.flatMap((path) => {
    const source = program.getSourceFile(path);
    const module = source && checker.getSymbolAtLocation(source);
    return module === undefined ? [] : checker.getExportsOfModule(module);
  });
  const original = (symbol: ts.Symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const isPublic = new Set(symbols.map(original));
  const missing = new Set<string>();
  let seen = 0;
  const visit = (node: ts.Node, of: string): void => {
    if (ts.isBlock(node) || (ts.isClassElement(node) && node.name && ts.isPrivateIdentifier(node.name)))
      return;
    if (ts.isPropertyDeclaration(node) && node.type === undefined) return;
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : undefined;
    const found = name && checker.getSymbolAtLocation(name);
    const symbol = found && original(found);
    const [declaration] = symbol?.declarations ?? [];
    if (symbol && declaration && !ts.isTypeParameterDeclaration(declaration)) {
      seen += 1;
      const isOurs = declaration.getSourceFile().fileName.startsWith(`${ROOT}src/`);
      if (isOurs && !isPublic.has(symbol)) missing.add(`${of}: ${symbol.name}`);
    }
    node.forEachChild((child) => visit(child, of));
  };
  for (const symbol of isPublic) {
    for (const declaration of symbol.declarations ?? []) {
      const isVariable = ts.isVariableDeclaration(declaration);
      if (isVariable && declaration.type === undefined) continue;
      visit(declaration, symbol.name);
    }
  }
  expect(seen).toBeGreaterThan(200);
  expect([...missing]).toEqual([]);
});
