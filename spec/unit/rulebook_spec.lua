require "spec.support.runtime"
local rulebook = require "tidemill.rulebook"

local function load(files, options)
  local list = {}
  for name, text in pairs(files) do list[#list + 1] = { name = name, text = text } end
  table.sort(list, function(a, b) return a.name < b.name end)
  options = options or {}
  options.limits = { rule_ms = 50, effects = 1000, effect_bytes = 1024 * 1024, state_bytes = 64 * 1024 }
  return rulebook.load(list, options)
end

-- "file:line: message" of every problem of one rule file.
local function problems(text, options)
  local list = {}
  for n, p in ipairs(load({ ["r.lua"] = text }, options).problems) do list[n] = ("%s:%d: %s"):format(p.file, p.line, p.message) end
  return list
end

-- What a problem says, without where on its line.
local function told(problem)
  return { file = problem.file, unit = problem.unit, other = problem.other, line = problem.line, message = problem.message }
end

-- The only problem of a rule table with these lines in it.
local function problem(lines, options)
  local list = problems("local tidemill = require 'tidemill'\nreturn tidemill.rule {\n" .. lines .. "\n}", options)
  assert.equal(1, #list, table.concat(list, "\n"))
  return list[1]
end

local WHOLE = 'stream = "s", on_event = function() end,'
local RULE = "return { " .. WHOLE .. " }"

describe("a rulebook", function()
  it("holds the rules in the order of their names", function()
    local book = load { ["b.lua"] = RULE, ["a.lua"] = RULE, ["z.lua"] = 'return { name = "A_0-z", ' .. WHOLE .. " }" }
    assert.same({}, book.problems)
    local names = {}
    for n, R in ipairs(book.rules) do names[n] = R.name end
    assert.same({ "A_0-z", "a", "b" }, names)
    assert.is_true(book.sources["@a.lua"])
  end)

  it("knows all fields of a rule", function()
    local R = load({ ["cart.lua"] = [[
      return require("tidemill").rule {
        name = "my-cart", stream = { "cart", "pay", "x:*" }, when = { type = { "add", "pay" }, n = 5, ok = true }, key = "user",
        event = { user = "string" }, state = { ttl = "8d" }, on_error = "skip", on_event = function() end,
      }]] }).rules[1]
    assert.same({ "my-cart", "cart.lua", "user", 691200000, "skip" }, { R.name, R.file, R.key_field, R.ttl, R.on_error })
    assert.same({ "cart", "pay", "x:*" }, R.streams)
    assert.same({ { "n", { [5] = true } }, { "ok", { [true] = true } }, { "type", { add = true, pay = true } } }, R.filter)
    assert.is_true(R.matchers[3] "x:1" and R.matchers[1] "cart" and not R.matchers[1] "pay")
    assert.matches("^%x%x%x%x%x%x%x%x$", R.version)
    assert.same({ 1 }, { R.state_version, R.migrate })
    local migrating = load { ["r.lua"] = "return { " .. WHOLE .. " state = { version = 2147483647, migrate = print } }" }
    assert.same({ 2147483647, "function", {} }, { migrating.rules[1].state_version, type(migrating.rules[1].migrate), migrating.problems })
    local defaults = load({ ["r.lua"] = RULE }).rules[1]
    assert.same({ "dead" }, { defaults.on_error, defaults.key_field, defaults.ttl, defaults.filter, defaults.check })
  end)

  it("names a version by the text, and the text of its libs", function()
    local function version(rule, lib) return load({ ["r.lua"] = rule, ["lib/l.lua"] = lib }).rules[1].version end
    local using = 'local l = require "lib.l" ' .. RULE
    local one = version(using, "return 1")
    assert.equal(one, version(using, "return 1"))
    assert.not_equal(one, version(using .. " ", "return 1"))
    assert.not_equal(one, version(using, "return 2"))
    assert.equal(version(RULE, "return 1"), version(RULE, "return 2")) -- not required: not its matter
  end)

  it("names it as the engine does, in C", function()
    local C = require("spec.support.header").load "src/rules/kernel_calls.h"
    for _, tail in ipairs { "", "\0\255\128", ("x\200"):rep(5000) } do
      local text = RULE .. " --" .. tail
      local R = load({ ["r.lua"] = text }).rules[1]
      assert.equal(C.version_hash(text, #text), R.seed)
      assert.equal(("%08x"):format(R.seed), R.version)
    end
  end)

  it("says that a folder has no rules", function()
    assert.same({ { file = "", unit = "", line = 0, message = "there are no rules: no file ends with .lua" } }, load({}).problems)
    assert.equal(1, #load({ ["lib/x.lua"] = "return 1" }).problems)
    assert.equal(1, #load({ ["schemas/x.lua"] = "return 1", ["r_spec.lua"] = "error 'a spec is no rule'" }).problems)
    assert.equal(1, #load({ ["deeper/x.lua"] = RULE }).problems)
  end)

  it("refuses two rules of one name, in the order of files", function()
    local book = load { ["a.lua"] = RULE, ["b.lua"] = '\nreturn {\n name = "a", ' .. WHOLE .. " }" }
    assert.same({ { file = "b.lua", unit = "b.lua", other = "a.lua",
      line = 3, message = "a rule named 'a' is already in a.lua" } }, { told(book.problems[1]) })
  end)
end)

describe("mistakes", function()
  it("of Lua have their file and line", function()
    assert.matches("^r.lua:2: '=' expected near 'is'", problems("\nthis is no Lua")[1])
    assert.same({ "r.lua:3: oops" }, problems "\n\nerror 'oops'")
    assert.same({ "r.lua:2: unknown global 'os'" }, problems "\nlocal t = os.time()")
    assert.matches("^r.lua:1: writing the global 'x': rules have no globals", problems("x = 1 " .. RULE)[1])
    assert.same({ "r.lua:1: raised a table value while loading" }, problems "error {}")
    assert.same({ "r.lua:1: no position" }, problems "error('no position', 0)")
    assert.same({ "r.lua:1: this is bytecode; rules are text" }, problems(string.dump(function() end)))
  end)

  it("of a lib are told at the lib's line", function()
    local book = load { ["r.lua"] = 'require "lib.x" ' .. RULE, ["lib/x.lua"] = "\n\nlocal y = nil + 1" }
    assert.same({ "lib/x.lua", 3 }, { book.problems[1].file, book.problems[1].line })
    book = load { ["r.lua"] = 'require "lib.x" ' .. RULE, ["lib/x.lua"] = "\nnot Lua" }
    assert.same({ "lib/x.lua", 2 }, { book.problems[1].file, book.problems[1].line })
  end)

  it("in files of very long names keep their line", function()
    local name = ("n"):rep(60) .. ".lua"
    local book = load { [name] = "\n\nerror 'x'" }
    assert.same({ file = name, unit = name, line = 3, message = "x" }, told(book.problems[1]))
  end)

  it("of the result are told at the end", function()
    assert.same({ "r.lua:1: returns nothing; a rule file ends with: return tidemill.rule { ... }" }, problems "local x")
    assert.same({ "r.lua:3: returns a string; a rule file ends with: return tidemill.rule { ... }" }, problems "\n\n\nreturn 'x'")
    assert.matches("expects a table", problems("require('tidemill').rule 'x'")[1])
  end)

  for _, case in ipairs {
    { 'stream = 5,\non_event = print', "3: `stream` must be a name, a list of names or a glob such as \"orders:*\"" },
    { 'stream = {},\non_event = print', "3: `stream` must be a name, a list of names or a glob such as \"orders:*\"" },
    { 'stream = "",\non_event = print', "3: `stream` number 1 is an empty name" },
    { 'on_event = print,\nstream = { "a", 5 }', "4: `stream` number 2 must be a name, it is a number" },
    { 'stream = "tidemill:x",\non_event = print', "3: `stream` 'tidemill:x': keys that start with tidemill: are the engine's own" },
    { 'stream = { "a:{1}", "b:{2}" },\non_event = print', "3: `stream` lists streams of different partitions ('a:{1}' and 'b:{2}'); "
      .. "give them one hash tag, such as \"a:{x}\" and \"b:{x}\"" },
    { 'stream = { "*", "a:{1}", "b" },\non_event = print', "3: `stream` lists streams of different partitions ('a:{1}' and 'b'); "
      .. "give them one hash tag, such as \"a:{x}\" and \"b:{x}\"" },
    { 'on_event = print', "2: `stream` is missing: the stream, or streams, that the rule reads" },
    { 'stream = "s"', "2: `on_event` is missing: the function that is called for each event" },
    { 'stream = "s", on_event = {}', "3: `on_event` must be a function, it is a table" },
    { 'stream = "s", on_event = print,\nname = "a b"', "4: `name` must be 1 to 64 letters, digits, _ or -" },
    { 'stream = "s", on_event = print,\nname = ""', "4: `name` must be 1 to 64 letters, digits, _ or -" },
    { 'stream = "s", on_event = print,\nname = ("x"):rep(65)', "4: `name` must be 1 to 64 letters, digits, _ or -" },
    { 'stream = "s", on_event = print,\nwhen = 5', "4: `when` must be a table of fields or a function, it is a number" },
    { 'stream = "s", on_event = print,\nwhen = { x = print }',
      "4: `when.x` may be compared with strings, numbers and booleans, not a function" },
    { 'stream = "s", on_event = print,\nwhen = { x = {} }', "4: `when.x` must be a value or a list of values" },
    { 'stream = "s", on_event = print,\nwhen = { "x" }', "4: `when.1` must be a value or a list of values" },
    { 'stream = "s", on_event = print,\nkey = 5', "4: `key` must be the name of a field or a function, it is a number" },
    { 'stream = "s", on_event = print,\nevent = 5', "4: `event` must be a table such as { user_id = \"string\" }" },
    { 'stream = "s", on_event = print,\nevent = {\n total = "nmber" }',
      "5: the type of `event.total` must be string, number, integer, boolean, "
      .. "table or any, with ? when optional; it is \"nmber\"; did you mean \"number\"?" },
    { 'stream = "s", on_event = print,\nevent = {\n note = { "string",\n optinal = true } }',
      "6: unknown attribute `optinal` of `event.note`; did you mean `optional`?" },
    { 'stream = "s", on_event = print,\nevent = {\n a = { "string", optional = true },\n b = { "string", optional = 1 } }',
      "6: `optional` of `event.b` must be true or false, it is a number" },
    { 'stream = "s", on_event = print,\nevent = { b = "string", a = { list = { fields = {\n b = "strin" } } } }',
      "5: the type of `event.a[].b` must be string, number, integer, boolean, table or any, "
      .. "with ? when optional; it is \"strin\"; did you mean \"string\"?" },
    { 'stream = "s", on_event = print,\nevent = { c = { "string",\n enum = { "EUR" },\n default = "USD" } }',
      "6: the default of `event.c` does not fit: field 'c' must be \"EUR\", it is a string (\"USD\")" },
    { 'stream = "s", on_event = print,\nupgrade = 5', "4: `upgrade` must be a table such as { [1] = function(old) return new end }, "
      .. "it is a number" },
    { 'stream = "s", on_event = print,\nupgrade = {\n[1] = print,\n[3] = print }',
      "4: `upgrade[2]` is missing: events of version 2 could not become those of version 4" },
    { 'stream = "s", on_event = print,\nupgrade = {\n[2] = print }',
      "4: `upgrade[1]` is missing: events of version 1 could not become those of version 3" },
    { 'stream = "s", on_event = print,\nupgrade = { [1] = print,\n[2] = "x" }',
      "5: `upgrade[2]` must be a function(old) that returns the event as version 3 has it, it is a string" },
    { 'stream = "s", on_event = print,\nupgrade = { [1] = print,\n[1.5] = print }',
      "4: `upgrade` has the key `1.5`; its keys are the versions that it upgrades from: 1, 2 and so on" },
    { 'stream = "s", on_event = print,\nupgrade = { [1] = print,\none = print }',
      "5: `upgrade` has the key `one`; its keys are the versions that it upgrades from: 1, 2 and so on" },
    { 'stream = "s", on_event = print,\nupgrade = { [1e9] = print }',
      "4: `upgrade` has the key `1000000000`; its keys are the versions that it upgrades from: 1, 2 and so on" },
    { 'stream = "s", on_event = print,\nevent = tidemill.schema {\n event = { a = "string" },\n evnt = {} }',
      "6: unknown field `evnt` of a schema; did you mean `event`?" },
    { 'stream = "s", on_event = print,\nevent = tidemill.schema {}',
      "4: `event` of the schema is missing: the fields that its events have" },
    { 'stream = "s", on_event = print,\nevent = tidemill.schema { event = {} },\nupgrade = {}',
      "5: `upgrade` belongs into the schema that `event` is: a rule with a schema has none of its own" },
    { 'stream = "s", on_event = print,\nstate = 5', "4: `state` must be a table such as { ttl = \"8d\" }" },
    { 'stream = "s", on_event = print,\nstate = {\n tll = 5 }', "5: unknown field `state.tll`; did you mean `ttl`?" },
    { 'stream = "s", on_event = print,\nstate = { ttl = "8x" }',
      "4: `state.ttl`: '8x' is no duration: write milliseconds or \"250ms\", \"10s\", "
      .. "\"30m\", \"12h\", \"8d\"" },
    { 'stream = "s", on_event = print,\nstate = { ttl = 0 }', "4: `state.ttl`: it must be more than 0 ms" },
    { 'stream = "s", on_event = print,\nstate = { verson = 2 }', "4: unknown field `state.verson`; did you mean `version`?" },
    { 'stream = "s", on_event = print,\nstate = {\nversion = 2 }',
      "5: `state.version` is 2, but there is no `state.migrate`: the states that earlier versions left could not be read" },
    { 'stream = "s", on_event = print,\nstate = {\nmigrate = function(old) return old end }',
      "5: `state.migrate` needs a `state.version` above 1: the one that it migrates to" },
    { 'stream = "s", on_event = print,\nstate = { version = 1,\nmigrate = function(old) return old end }',
      "5: `state.migrate` needs a `state.version` above 1: the one that it migrates to" },
    { 'stream = "s", on_event = print,\nstate = { version = 2,\nmigrate = { } }',
      "5: `state.migrate` must be a function(old, from), it is a table" },
    { 'stream = "s", on_event = print,\nstate = { version = "2", migrate = print }',
      "4: `state.version` must be a whole number from 1 to 2147483647" },
    { 'stream = "s", on_event = print,\nstate = { version = 2147483648, migrate = print }',
      "4: `state.version` must be a whole number from 1 to 2147483647" },
    { 'stream = "s", on_event = print,\nstate = { version = 0 }', "4: `state.version` must be a whole number from 1 to 2147483647" },
    { 'stream = "s", on_event = print,\nstate = { version = 1.5 }', "4: `state.version` must be a whole number from 1 to 2147483647" },
    { 'stream = "s", on_event = print,\non_error = "retry"', "4: `on_error` must be \"dead\", \"skip\" or \"stop\"" },
    { 'stream = "s", on_event = print,\n\nstrem = "t"', "5: unknown field `strem`; did you mean `stream`?" },
    { 'stream = "s", on_event = print,\n["on-timer"] = print', "4: unknown field `on-timer`; did you mean `on_timer`?" },
    { 'stream = "s", on_event = print, 7',
      "2: unknown field `1`; known are name, mode, shadow_of, stream, when, key, event, upgrade, state, limits, time, lateness, idle, "
      .. "clock, window, merge, on_event, on_timer, on_window, on_late, on_error" },
    { 'stream = "s", on_event = print,\ntime = 5', "4: `time` must be the name of a field or a function(event), it is a number" },
    { 'stream = "s", on_event = print,\nclock = "redis"',
      "4: `clock` must be \"wall\" (Redis' time) or \"event\" (the rule's watermark)" },
    { 'stream = "s", on_event = print,\nlateness = "2s"',
      "4: `lateness` needs a watermark, which rules with `time`, `window` or `clock = \"event\"` have" },
    { 'stream = "s", on_event = print,\ntime = "ts", idle = 0', "4: `idle`: it must be at least 1 ms" },
    { 'stream = "s", on_event = print,\nwindow = "10s"',
      "4: `window` must be made by tidemill.window: tumbling(\"10s\"), sliding(\"10m\", \"10s\"), session(\"30m\") or "
      .. "count(100)" },
    { 'stream = "s", on_event = print,\nwindow = { kind = "tumbling", size = 1000 }',
      "4: `on_window` is missing: the function(span, ctx) that is called when a window closes" },
    { 'stream = "s", on_event = print, on_window = print,\nwindow = { kind = "session", gap = 1000 }',
      "4: `merge` is missing: function(a, b) that makes one table of those of two sessions that an event joins" },
    { 'stream = "s", on_event = print,\non_late = print', "4: `on_late` needs a `window`" },
    { 'stream = "s", on_event = print,\nlimits = 5', "4: `limits` must be a table such as { rule_ms = 10 }, it is a number" },
    { 'stream = "s", on_event = print,\nlimits = {\nrule_ms = 51 }',
      "5: `limits.rule_ms` is 51, more than the 50 of the settings; a rule may only lower a limit" },
    { 'stream = "s", on_event = print,\nlimits = { effect_kb = 1025 }',
      "4: `limits.effect_kb` is 1025, more than the 1024 of the settings; a rule may only lower a limit" },
    { 'stream = "s", on_event = print,\nlimits = { efects = 5 }', "4: unknown limit `limits.efects`; did you mean `effects`?" },
    { 'stream = "s", on_event = print,\nlimits = { vm_mb = 5 }',
      "4: `limits.vm_mb` is for all rules together: it stands in the settings" },
    { 'stream = "s", on_event = print,\nmode = "shadows"', '4: `mode` must be "live" or "shadow"' },
    { 'stream = "s", on_event = print,\nmode = "shadow", shadow_of = 5', "4: `shadow_of` must be the name of a rule, it is a number" },
    { 'stream = "s", on_event = print,\nshadow_of = "a"', '4: `shadow_of` needs `mode = "shadow"`' },
    { 'stream = "s", on_event = print, mode = "live",\nshadow_of = "a"', '4: `shadow_of` needs `mode = "shadow"`' },
    { 'stream = "s", on_event = print, mode = "shadow",\nshadow_of = "r"',
      "4: `shadow_of` names the rule itself; it names the one that this would replace" },
    { 'stream = "s", on_event = print,\nname = "shadow"', "4: a rule cannot be named 'shadow': what shadow rules keep is called so" },
    { 'stream = "s", on_event = print,\nlimits = { state_kb = 0.5 }', "4: `limits.state_kb` must be a whole number of at least 1" },
  } do
    it("in " .. case[1]:gsub("\n", " "), function() assert.equal("r.lua:" .. case[2], problem(case[1])) end)
  end

  it("of all kinds are told together, in the order of lines", function()
    local list = problems 'return {\n stream = 5,\n key = 5,\n foo = 1,\n on_error = "x",\n}'
    assert.same({ "r.lua:1: `on_event` is missing", "r.lua:2: `stream` must", "r.lua:3: `key` must", "r.lua:4: unknown field `foo`",
      "r.lua:5: `on_error` must" }, { list[1]:sub(1, 30), list[2]:sub(1, 22), list[3]:sub(1, 19), list[4]:sub(1, 28), list[5]:sub(1, 24) })
  end)

  it("are told at the field of the rule table, not at words like it before", function()
    local text = [[
-- key = not this
local options = { key = 5 }
options.key = 6
local function key() return options.key == 5 end
return {
  stream = "s", on_event = function() end,
  ["key"] = { },
}]]
    assert.same({ "r.lua:7: `key` must be the name of a field or a function, it is a table" }, problems(text))
    assert.same({ "r.lua:2: `key` must be the name of a field or a function, it is a table" },
      problems 'local rule = { stream = "s", on_event = print,\nkey = {} }\nreturn rule')
  end)

  it("of the name of a file", function()
    local book = load { ["a b.lua"] = RULE }
    assert.matches("^the file's name makes no rule name", book.problems[1].message)
    assert.same({}, load({ ["a b.lua"] = 'return { name = "ab", ' .. WHOLE .. " }" }).problems)
  end)

  it("of partitions depend on the settings", function()
    local lists = 'stream = { "cart", "pay" }, on_event = print'
    assert.same({}, problems("return { " .. lists .. " }"))
    assert.matches("or drop `partition = \"stream\"` from the settings$", problem(lists, { untagged_alone = true }))
    assert.same({}, problems('return { stream = { "cart:{1}", "pay:{1}" }, on_event = print }', { untagged_alone = true }))
    assert.same({}, problems('return { stream = { "orders", "x:{orders}" }, on_event = print }', { untagged_alone = true }))
  end)

  it("never run code of the rule's metatables", function()
    for _, text in ipairs {
      'return setmetatable({ stream = "s", on_event = print }, { __index = function() error "reached" end })',
      'return { stream = "s", on_event = print, state = setmetatable({}, { __index = function() error "reached" end }) }',
      'local evil = setmetatable({}, { __tostring = function() error "reached" end, __index = function() error "reached" end, '
        .. '__len = function() error "reached" end }) return { stream = "s", on_event = print, [evil] = evil, name = evil, key = evil, '
        .. 'event = { [1] = evil }, state = { [evil] = evil, ttl = evil }, on_error = evil, when = { x = evil, [evil] = evil } }',
      'local evil = setmetatable({}, { __tostring = function() error "reached" end }) return { stream = evil, on_event = evil, '
        .. 'event = { x = evil }, when = evil }',
    } do
      for _, one in ipairs(problems(text)) do assert.not_matches("reached", one) end
    end
  end)
end)

-- What the caret stands under, in the problem of a file that has only one; nil: nothing.
local function pointed(text, others)
  local folder = others or {}
  folder["r.lua"] = text
  local list = load(folder).problems
  assert.equal(1, #list)
  local p = list[1]
  if p.column == 0 then return nil, p end
  return p.text:sub(p.column, p.column + p.width - 1), p
end

describe("the place of a mistake", function()
  it("is the field of the rule table", function()
    for lines, word in pairs {
      ['stream = "s", on_event = print, strem = "t"'] = "strem",
      ['\tstream = "s", on_event = print,\n\t\tkey = 5'] = "key",
      ['stream = "s", on_event = print, ["on-timer"] = print'] = "on-timer",
      ['stream = "s", on_event = print, event = { user = "strng" }'] = "user",
      ['stream = "s", on_event = print, event = { [1] = "string" }'] = "event",
      ['stream = "s", on_event = print, state = { tll = 5 }'] = "tll",
      ['stream = "s", on_event = print, limits = { efects = 5 }'] = "efects",
      ['on_event = print'] = "return",
      ['stream = "s", on_event = print, ["a\0b"] = 1'] = "a\0b",
    } do
      assert.equal(word, (pointed("return {\n" .. lines .. "\n}")), lines)
    end
  end)

  it("counts bytes from 1 on, and comes with the line as it is written", function()
    local _, p = pointed('return {\r\n  stream = "s", on_event = print,\r\n\tkey = "é", strem = "t",\r\n}')
    assert.same({ 3, 14, 5, '\tkey = "é", strem = "t",' }, { p.line, p.column, p.width, p.text })
  end)

  it("is where Lua gave up, also when the word is there before", function()
    for text, want in pairs {
      ["local x = 1 x 1"] = { 15, "1" }, ["return { a = = 1 }"] = { 14, "=" }, ["local s = 'abc\nreturn {}"] = { 11, "'abc" },
      ["if x == 1 than y() end"] = { 11, "than" }, ["local end_of = 1 end"] = { 18, "end" },
      ["\nlocal end_of = 1 end"] = { 18, "end" },
    } do
      local word, p = pointed(text)
      assert.same(want, { p.column, word }, text .. ": " .. p.message)
    end
    local many, after = "local x = '" .. ("= "):rep(100) .. "' = 1", "return { a = = 1 } --" .. ("x"):rep(300000)
    assert.equal(9, select(2, pointed(many)).column) -- not all of them are tried
    assert.equal(12, select(2, pointed(after)).column) -- nor in a file of this size
    local word, p = pointed("return {\n  stream = 's',\n")
    assert.same({ nil, 3 }, { word, p.line })
  end)

  it("is the word that an error while loading quotes, in a library too", function()
    assert.equal("os", (pointed "local t = os.time()"))
    assert.equal("x", (pointed("x = 1 " .. RULE)))
    assert.equal("lib.none", (pointed('require "lib.none" ' .. RULE)))
    assert.is_nil((pointed "error 'oops'"))
    local word, p = pointed('require "lib.x" ' .. RULE, { ["lib/x.lua"] = "\nreturn nowhere + 1" })
    assert.same({ "nowhere", "lib/x.lua", "return nowhere + 1" }, { word, p.file, p.text })
  end)

  it("is the local that a handler assigns, in a warning", function()
    local w = load({ ["r.lua"] = 'local n = 0\nreturn { stream = "s", on_event = function() n = 1 end }' }).warnings[1]
    assert.same({ 2, "n" }, { w.line, w.text:sub(w.column, w.column + w.width - 1) })
  end)
end)

describe("an unknown name", function()
  it("is told with the nearest that the file or the engine has", function()
    for text, hint in pairs {
      ['local tidemill = require "tidemill"\nreturn tidemil.rule {}'] = "unknown global 'tidemil'; did you mean `tidemill`?",
      ["local function helper() end\nhelpr()"] = "unknown global 'helpr'; did you mean `helper`?",
      ["local first, second = 1, 2\nprint(secnd)"] = "unknown global 'secnd'; did you mean `second`?",
      ["tostrng(1)"] = "unknown global 'tostrng'; did you mean `tostring`?",
      ["do local x = 1 end print(x)"] = "unknown global 'x'",
      ["os.time()"] = "unknown global 'os'", ["jit.off()"] = "unknown global 'jit'", ["nowhere()"] = "unknown global 'nowhere'",
      ['local tidemill = require "tidemill"\nreturn tidemill.rul {}'] =
        "attempt to call field 'rul' (a nil value); did you mean `rule`?",
      ['local w = require("tidemill.window")\nreturn { window = w.tumbing "1s" }'] =
        "attempt to call field 'tumbing' (a nil value); did you mean `tumbling`?",
      ['local tidemill = require "tidemill"\nreturn { window = tidemill.window.sesion "1s" }'] =
        "attempt to call field 'sesion' (a nil value); did you mean `session`?",
      ['local tidemill = require "tidemill"\nreturn { window = tidemill.windw.session "1s" }'] =
        "attempt to index field 'windw' (a nil value); did you mean `window`?",
      ["local own = {}\nown.rul()"] = "attempt to call field 'rul' (a nil value)",
    } do
      local list = load({ ["r.lua"] = text }).problems
      assert.equal(hint, list[1].message)
    end
  end)

  it("of a module has the nearest of the engine's and of lib/", function()
    local function message(name)
      return load({ ["r.lua"] = ("require %q"):format(name), ["lib/prices.lua"] = "return 1" }).problems[1].message
    end
    assert.matches("; did you mean `lib.prices`%?$", message "lib.prizes")
    assert.matches("; did you mean `tidemill`%?$", message "tidemil")
    assert.matches("; did you mean `tidemill.window`%?$", message "tidemill.windows")
    assert.not_matches("did you mean", message "os")
  end)
end)

describe("the hash tag", function()
  it("is what Redis Cluster takes for it", function()
    for name, tag in pairs { orders = "",
      ["orders:{3}"] = "3", ["{a}{b}"] = "a", ["{}x{y}"] = "", ["x{"] = "", ["x{a"] = "", ["}{a}"] = "a",
      ["{{a}}"] = "{a" } do
      assert.equal(tag, rulebook.tag_of(name, false), name)
    end
    assert.equal("orders", rulebook.tag_of("orders", true))
    assert.equal("3", rulebook.tag_of("orders:{3}", true))
  end)
end)

describe("require", function()
  it("finds the engine's module and the folder's own", function()
    local book = load {
      ["r.lua"] = [[
        local prices, deep = require "lib.prices", require "lib.deep.er"
        assert(prices == require "lib.prices" and prices.vat == 0.19 and deep == "deep")
        assert(require("tidemill").null and require "lib.nothing" == true)
        ]] .. RULE,
      ["lib/prices.lua"] = "return { vat = 0.19 }", ["lib/deep/er.lua"] = 'return "deep"', ["lib/nothing.lua"] = "local x = 1",
    }
    assert.same({}, book.problems)
  end)

  it("gives each rule its own copy", function()
    local book = load {
      ["a.lua"] = 'local l = require "lib.l" l.n = l.n + 1 assert(l.n == 1) require("tidemill").x = 1 ' .. RULE,
      ["b.lua"] = 'local l = require "lib.l" l.n = l.n + 1 assert(l.n == 1) assert(require("tidemill").x == nil) ' .. RULE,
      ["lib/l.lua"] = "return { n = 0 }",
    }
    assert.same({}, book.problems)
    assert.is_nil(require("tidemill").x)
  end)

  it("finds nothing else", function()
    for _, name in ipairs { "os", "io", "ffi", "jit", "bit", "package", "string", "tidemill.kernel", "tidemill.call", "tidemill.testing",
      "lib.none", "lib", "lib/x", "lib.../x", "../lib/x", "/etc/passwd", "" } do
      local list = problems(("require %q"):format(name))
      assert.equal(1, #list)
      assert.matches("^r.lua:1: module '" .. name:gsub("%p", "%%%0") .. "' not found; a rule may require ", list[1])
    end
    assert.matches("expects the name of a module", problems("require(5)")[1])
  end)

  it("finds schemas, and names the nearest of what is not there", function()
    local files = {
      ["r.lua"] = 'local order = require "schemas.order"\nreturn { stream = "s", on_event = print, event = order }',
      ["schemas/order.lua"] = [[
        return require("tidemill").schema {
          event = { user = "string", address = { fields = require("schemas.parts.address").event } },
          upgrade = { [1] = function(old) return old end },
        }]],
      ["schemas/parts/address.lua"] = 'return require("tidemill").schema { event = { city = "string" } }',
    }
    local book = load(files)
    assert.same({}, book.problems)
    assert.equal("field 'address.city' must be a string, it is missing", book.rules[1].check({ user = "u", address = {} }, false))
    assert.equal(1, #book.rules[1].upgrades)
    assert.is_true(book.sources["@schemas/order.lua"])
    local before = book.rules[1].version
    files["schemas/parts/address.lua"] = 'return require("tidemill").schema { event = { city = "string?" } }'
    assert.not_equal(before, load(files).rules[1].version)
    assert.equal("r.lua:1: module 'schemas.oder' not found; a rule may require what lies in the folder's schemas/: there is no "
      .. "schemas/oder.lua; did you mean `schemas.order`?", (function()
        files["r.lua"] = 'require "schemas.oder" ' .. RULE
        local first = load(files).problems[1]
        return ("%s:%d: %s"):format(first.file, first.line, first.message)
      end)())
  end)

  it("gives each rule its own copy of a schema", function()
    local text = 'local o = require "schemas.o" o.event.a = o.event.a .. "?" return { stream = "s", on_event = print, event = o }'
    local book = load { ["a.lua"] = text, ["b.lua"] = text,
      ["schemas/o.lua"] = 'return require("tidemill").schema { event = { a = "string" } }' }
    assert.same({}, book.problems)
    for _, R in ipairs(book.rules) do assert.is_nil(R.check({}, false)) end
  end)

  it("tells the mistakes of a schema at its own line", function()
    local book = load {
      ["r.lua"] = 'local s = require "schemas.order"\nreturn { stream = "s", on_event = print, event = s }',
      ["schemas/order.lua"] = [[
-- event = { user
return require("tidemill").schema {
  event = {
    user = "strin",
    address = { fields = require("schemas.address").event },
    city = { "string", renamd = "town" },
  },
  upgrade = {
    [1] = function(old) local event = { user = 1 } return event end,
    [2] = 5,
  },
}]],
      ["schemas/address.lua"] = 'return require("tidemill").schema {\n  event = {\n    city = { "string",\n defalt = 1 },\n  },\n}',
    }
    local lines = {}
    for n, p in ipairs(book.problems) do lines[n] = ("%s:%d %s"):format(p.file, p.line, p.message):sub(1, 60) .. " " .. p.unit end
    assert.same({
      "schemas/address.lua:4 unknown attribute `defalt` of `event.a r.lua",
      "schemas/order.lua:4 the type of `event.user` must be string, r.lua",
      "schemas/order.lua:6 unknown attribute `renamd` of `event.cit r.lua",
      "schemas/order.lua:10 `upgrade[2]` must be a function(old) th r.lua",
    }, lines)
    book = load { ["r.lua"] = 'require "schemas.x" ' .. RULE, ["schemas/x.lua"] = "\nlocal y = nil + 1" }
    assert.same({ "schemas/x.lua", 2 }, { book.problems[1].file, book.problems[1].line })
  end)

  it("tells the mistakes in fields that stand apart from the rule table at their line", function()
    local list = problems('local fields = {\n  note = { "string", optinal = true },\n}\nreturn { ' .. WHOLE .. " event = fields }")
    assert.same({ "r.lua:2: unknown attribute `optinal` of `event.note`; did you mean `optional`?" }, list)
  end)

  it("tells a circle, and does not take a failure for one", function()
    local book = load { ["r.lua"] = 'require "lib.a" ' .. RULE, ["lib/a.lua"] = 'require "lib.b"', ["lib/b.lua"] = '\nrequire "lib.a"' }
    assert.same({ file = "lib/b.lua", unit = "r.lua", line = 2, message = "module 'lib.a' requires itself" },
      told(book.problems[1]))
    book = load { ["r.lua"] = 'require "lib.a" ' .. RULE, ["lib/a.lua"] = 'return require "lib.b"',
      ["lib/b.lua"] = "\nreturn require 'lib.a'" } -- calls at the end, of which Lua keeps no place
    assert.same({ file = "lib/b.lua", unit = "r.lua", line = 2, message = "module 'lib.a' requires itself" },
      told(book.problems[1]))
    book = load { ["r.lua"] = 'require "lib.a" ' .. RULE, ["lib/a.lua"] = 'return require("lib.bee")', ["lib/be.lua"] = "" }
    assert.same({ "lib/a.lua", 1 }, { book.problems[1].file, book.problems[1].line })
    book = load { ["r.lua"] = 'pcall(require, "lib.a") require "lib.a" ' .. RULE, ["lib/a.lua"] = 'error "broken"' }
    assert.same({ file = "lib/a.lua", unit = "r.lua", line = 1, message = "broken" }, told(book.problems[1]))
  end)
end)

describe("warnings", function()
  local function warnings(text)
    local list = {}
    for n, w in ipairs(load({ ["r.lua"] = text }).warnings) do list[n] = ("%d: %s"):format(w.line, w.message:match "^assigns '[^']*'") end
    return list
  end

  it("are given where a handler assigns a local of the file", function()
    assert.same({ "4: assigns 'count'", "5: assigns 'last'", "5: assigns 'none'", "6: assigns 'name'", "9: assigns 'seen'",
      "12: assigns 'count'" }, warnings [[
local count, last, name, none, seen = 0
return {
  stream = "s", on_event = function(event, ctx)
    count = count + 1
    last, none = 5, nil
    name = "text"
  end,
  when = function(event)
    seen = event
  end,
  state = { version = 2, migrate = function(old)
    count = old
  end },
}]])
  end)

  it("are not given for what is no mistake", function()
    assert.same({}, warnings [[
local cache = {}
local function helper() local own = 1 own = 2 return own end
return {
  stream = "s", on_event = function(event, ctx)
    local own, other = 0, nil
    own = own + 1
    other = own
    cache.x = own
    cache[own] = helper()
    ctx.state.count = 5
    for i = 1, 10 do own = i end
  end,
}]])
  end)

  it("are given inside of the handler's own functions", function()
    assert.same({ "5: assigns 'count'" }, warnings [[
local count = 0
return {
  stream = "s", on_event = function(event, ctx)
    local function add()
      count = count + 1
    end
    local own = 0
    local function inner() own = own + 1 end
    add() inner()
  end,
}]])
  end)

  it("gives each file the libraries that stand with it", function()
    local text = 'local v = require "lib.v" return { stream = v, on_event = function() end }'
    local function libraries(v) return { ["lib/v.lua"] = { name = "lib/v.lua", text = v } } end
    local book = rulebook.load({
      { name = "a.lua", text = text, libraries = libraries 'return "old"' },
      { name = "b.lua", text = text, libraries = libraries 'return "new"' },
      { name = "c.lua", text = text, libraries = {} },
      { name = "d.lua", text = text, libraries = libraries "\nerror 'both files say this'" },
    }, {})
    assert.same({ "old", "new" }, { book.rules[1].streams[1], book.rules[2].streams[1] })
    assert.not_equal(book.rules[1].version, book.rules[2].version)
    assert.same({ "c.lua", 1 }, { book.problems[1].file, book.problems[1].line })
    assert.same({ file = "lib/v.lua", line = 2, message = "both files say this", unit = "d.lua" },
      told(book.problems[2]))
    assert.is_true(book.sources["@lib/v.lua"])
  end)

  it("runs the chunk of each file through the call that it is given", function()
    local called = 0
    local book = load({ ["a.lua"] = "local x = 1 " .. RULE, ["b.lua"] = RULE }, { call = function(chunk)
      called = called + 1
      if called == 1 then return false, "a.lua:7: too slow" end
      return pcall(chunk)
    end })
    assert.equal(2, called)
    assert.same({ { file = "a.lua", line = 7, message = "too slow", unit = "a.lua" } }, { told(book.problems[1]) })
    assert.equal("b", book.rules[1].name)
  end)

  it("pairs a shadow rule with the one that it would replace, under a name that no live rule can have", function()
    local book = load { ["pricing.lua"] = RULE, ["a.lua"] = 'return { mode = "shadow", shadow_of = "pricing", ' .. WHOLE .. " }",
      ["b.lua"] = 'return { mode = "shadow", on_error = "stop", ' .. WHOLE .. " }",
      ["c.lua"] = 'return { mode = "live", ' .. WHOLE .. " }" }
    assert.same({}, book.problems)
    assert.same({}, book.warnings)
    local by_name = {}
    for _, R in ipairs(book.rules) do by_name[R.name] = R end
    local a, b, pricing = by_name["shadow:a"], by_name["shadow:b"], by_name.pricing
    assert.equal(pricing, a.replaces)
    assert.same({ true, true, true }, { a.is_shadow, b.is_shadow, pricing.is_shadowed })
    assert.is_nil(b.replaces)
    assert.equal("dead", b.on_error)
    assert.is_nil(by_name.c.is_shadow)
    assert.is_nil(by_name.c.is_shadowed)
  end)

  it("warns of a rule that is to be replaced and is not there", function()
    local function warning(files)
      local book = load(files)
      assert.same({}, book.problems)
      assert.equal(1, #book.warnings)
      return ("%s:%d: %s"):format(book.warnings[1].file, book.warnings[1].line, book.warnings[1].message)
    end
    local shadow = 'return { mode = "shadow",\nshadow_of = "pricin", ' .. WHOLE .. " }"
    assert.equal("a.lua:2: `shadow_of`: there is no rule 'pricin', so nothing is compared; did you mean `pricing`?",
      warning { ["a.lua"] = shadow, ["pricing.lua"] = RULE })
    assert.equal("a.lua:2: `shadow_of`: there is no rule 'pricin', so nothing is compared", warning { ["a.lua"] = shadow })
    assert.equal("a.lua:2: `shadow_of`: rule 'pricin' is in shadow mode itself, so nothing is compared",
      warning { ["a.lua"] = shadow, ["pricin.lua"] = 'return { mode = "shadow", ' .. WHOLE .. " }" })
    -- A mistake may be why it is not there.
    assert.same({}, load({ ["a.lua"] = shadow, ["pricin.lua"] = "return 5" }).warnings)
  end)

  it("tells of mistakes on one line from left to right, whatever the order of their fields", function()
    local names, fields = {}, {}
    for n = 10, 40 do
      names[#names + 1] = "f" .. n
      fields[#fields + 1] = ("f%d = 'nosuch'"):format(n)
    end
    local book = load { ["a.lua"] = "return { event = { " .. table.concat(fields, ", ") .. " }, " .. WHOLE .. " }" }
    local seen = {}
    for n, found in ipairs(book.problems) do seen[n] = found.message:match "`event%.(f%d+)`" end
    assert.same(names, seen)
  end)

  it("has one rule of a name, whatever its mode", function()
    local book = load { ["a.lua"] = RULE, ["b.lua"] = 'return { name = "a", mode = "shadow", ' .. WHOLE .. " }" }
    assert.equal("a rule named 'a' is already in a.lua", book.problems[1].message)
    assert.matches("^a rule cannot be named 'shadow'", load({ ["shadow.lua"] = RULE }).problems[1].message)
    assert.same({}, load({ ["shadow.lua"] = 'return { name = "shadows", ' .. WHOLE .. " }" }).problems)
  end)
end)
