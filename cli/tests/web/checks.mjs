// What is to be checked: one line for each, PASS or FAIL.

export class Checks {
  constructor(browser) {
    this.browser = browser;
    this.failed = 0;
    this.only = process.env.CHECK;
  }

  async run(name, check) {
    if (this.only && !name.includes(this.only)) return;
    const pages = this.browser.browser.contexts().length;
    try {
      await check();
      this.browser.clean();
      console.log(`PASS web ${name}`);
    } catch (error) {
      this.failed += 1;
      this.browser.problems.length = 0;
      console.log(`FAIL web ${name}: ${`${error?.message ?? error}`.replaceAll("\n", " ").slice(0, 600)}`);
    }
    for (const context of this.browser.browser.contexts().slice(pages)) await context.close();
  }

  end() {
    process.exit(this.failed ? 1 : 0);
  }
}
