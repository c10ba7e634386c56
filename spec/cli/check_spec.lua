local cjson = require "cjson"
local files = require "spec.support.files"
local program = require "spec.support.program"

local RULE = 'return { stream = "s", on_event = function() end }\n'

describe("tidemill check", function()
  local folder

  before_each(function()
    folder = files.temp_folder()
    files.make_folder(folder .. "/rules")
    files.make_folder(folder .. "/rules/lib")
  end)

  local function rule(name, text) files.write_file(folder .. "/rules/" .. name, text) end

  local function check(...) return program.run({ "check", ... }, { folder = folder }) end

  -- What it prints as JSON, decoded, and the exit status; each object stands on a line of its own.
  local function check_json(...)
    local code, out, err = check("--format", "json", ...)
    assert.equal("", err)
    local list = cjson.decode(out)
    assert.equal(math.max(#list, 1), select(2, out:gsub("\n", "")), out)
    return list, code, out
  end

  it("shows the line, a caret under the word, and the nearest name", function()
    rule("cart.lua", 'local tidemill = require "tidemill"\n\nreturn tidemill.rule {\n\tstrem = "cart", on_event = print,\n}\n')
    local code, out = check()
    assert.equal(1, code)
    assert.equal([[
rules/cart.lua:3: `stream` is missing: the stream, or streams, that the rule reads
    3 | return tidemill.rule {
      | ^^^^^^
rules/cart.lua:4: unknown field `strem`; did you mean `stream`?
    4 |     strem = "cart", on_event = print,
      |     ^^^^^
]], out)
  end)

  it("shows it in the library that a rule requires, and for warnings", function()
    rule("a.lua", 'require "lib.x"\n' .. RULE)
    rule("lib/x.lua", "\nlocal y = nowhere\n")
    rule("b.lua", 'local n = 0\nreturn { stream = "s", on_event = function() n = 1 end }\n')
    local code, out = check()
    assert.equal(1, code)
    assert.matches("rules/lib/x.lua:2: unknown global 'nowhere'\n    2 | local y = nowhere\n      |           ^^^^^^^\n", out, 1, true)
    assert.matches("\n      |                                              ^\n", out, 1, true)
    assert.matches("rules/b.lua:2: warning: assigns 'n'", out, 1, true)
  end)

  it("prints one line a mistake, whatever a file holds", function()
    rule("a.lua", 'error "two\\nlines \\27[2J"')
    local _, out = check()
    assert.equal("rules/a.lua:1: two\\nlines \\x1b[2J\n    1 | error \"two\\nlines \\27[2J\"\n", out)
  end)

  it("is coloured on a terminal only, and not with NO_COLOR", function()
    rule("a.lua", "return { strem = 1 }")
    local line = 'script -qec "$tidemill check" /dev/null'
    local _, out = program.shell(line, { folder = folder, env = { TERM = "xterm" } })
    assert.matches("\27[31;1m", out, 1, true)
    _, out = program.shell(line, { folder = folder, env = { TERM = "xterm", NO_COLOR = "1" } })
    assert.is_nil(out:find("\27", 1, true))
    assert.matches("^^^^^", out, 1, true)
    assert.is_nil(select(2, check()):find("\27", 1, true))
  end)

  it("shows the line of a mistake in the settings, as every command does", function()
    rule("a.lua", RULE)
    files.write_file(folder .. "/tidemill.lua", "return {\n\tgruop = 1,\n}")
    for _, command in ipairs { "check", "status" } do
      local code, out, err = program.run({ command }, { folder = folder })
      assert.same({ 2, "" }, { code, out })
      assert.equal("tidemill: tidemill.lua:2: gruop is no setting; did you mean group?\n"
        .. "    2 |     gruop = 1,\n      |     ^^^^^\n", err)
    end
  end)

  describe("--format json", function()
    it("is one array of objects with all that is known", function()
      rule("cart.lua", 'return {\n  stream = "s", on_event = print,\n  strem = "cart",\n}\n')
      rule("warned.lua", 'local n = 0\nreturn { stream = "s", on_event = function() n = 1 end }\n')
      rule("unknown.lua", "error 'oops'")
      local list, code = check_json()
      assert.equal(1, code)
      assert.same({ file = "rules/cart.lua", line = 3, column = 3, end_column = 8, severity = "error",
        message = "unknown field `strem`; did you mean `stream`?" }, list[1])
      assert.same({ file = "rules/unknown.lua", line = 1, severity = "error", message = "oops" }, list[2])
      assert.same({ "rules/warned.lua", 2, 46, 47, "warning" },
        { list[3].file, list[3].line, list[3].column, list[3].end_column, list[3].severity })
      assert.equal(3, #list)
    end)

    it("is an empty array, and status 0, when there is no mistake", function()
      rule("a.lua", RULE)
      local _, code, out = check_json()
      assert.same({ 0, "[]\n" }, { code, out })
    end)

    it("has warnings with status 0", function()
      rule("a.lua", 'local n = 0\nreturn { stream = "s", on_event = function() n = 1 end }\n')
      local list, code = check_json()
      assert.same({ 0, 1, "warning" }, { code, #list, list[1].severity })
    end)

    it("holds a mistake in the settings", function()
      rule("a.lua", RULE)
      files.write_file(folder .. "/tidemill.lua", "return {\n  gruop = 1,\n}")
      local list, code = check_json()
      assert.equal(2, code)
      assert.same({ { file = "tidemill.lua", line = 2, column = 3, end_column = 8, severity = "error",
        message = "gruop is no setting; did you mean group?" } }, list)
      files.write_file(folder .. "/tidemill.lua", "return { lease_ms = 1000 }")
      list, code = check_json()
      assert.same({ 2, "tidemill.lua", 0 }, { code, list[1].file, list[1].line })
      files.write_file(folder .. "/tidemill.lua", "return {}")
      list, code = check_json("--config", "none.lua")
      assert.same({ 1, 0 }, { code, list[1].line })
      assert.matches("none.lua", list[1].message, 1, true)
    end)

    it("holds a folder that cannot be read, and one without rules", function()
      local list, code = check_json "nowhere"
      assert.same({ 1, "nowhere", 0, "error" }, { code, list[1].file, list[1].line, list[1].severity })
      assert.matches("cannot read the rules folder nowhere", list[1].message, 1, true)
      list, code = check_json()
      assert.equal(1, code)
      assert.same({ { file = "rules", line = 0, severity = "error", message = "there are no rules: no file ends with .lua" } }, list)
    end)

    it("is valid whatever bytes names and messages hold", function()
      rule('q"\\\200.lua', 'error "\\"\\\\\\1\\200\\n\\226\\130\\172"')
      local list, code = check_json()
      assert.equal(1, code)
      assert.equal('rules/q"\\\\xc8.lua', list[1].file)
      assert.equal('"\\\1\\xc8\n€', list[1].message)
    end)

    it("has a mistake once that several rules have", function()
      for _, name in ipairs { "a.lua", "b.lua", "c.lua" } do rule(name, 'require "lib.x"\n' .. RULE) end
      rule("lib/x.lua", "\nlocal y = nowhere\n")
      local list = check_json()
      assert.same({ 1, "rules/lib/x.lua", 2 }, { #list, list[1].file, list[1].line })
      assert.equal(1, select(2, select(2, check()):gsub("unknown global", "")))
    end)

    it("fails when it cannot be written", function()
      rule("a.lua", RULE)
      assert.equal(1, (program.shell('"$tidemill" check --format json > /dev/full', { folder = folder })))
      rule("a.lua", "x")
      assert.equal(1, (program.shell('"$tidemill" check > /dev/full', { folder = folder })))
    end)

    it("is one of two", function()
      local code, out, err = check("--format", "xml")
      assert.same({ 2, "", 'tidemill: --format must be text or json, not "xml"\n' }, { code, out, err })
    end)
  end)
end)
