local ffi = require "ffi"
local files = require "spec.support.files"
local process = require "spec.support.process"
local program = require "spec.support.program"
local C = require("spec.support.header").load("src/config/options.h", "src/config/command.h")

local function text(pointer)
  return pointer ~= nil and ffi.string(pointer) or nil
end

-- The commands that the program says it has.
local function commands()
  local code, out = program.run { "--help" }
  assert.equal(0, code)
  local names = {}
  for line in out:match("\nCommands:\n(.-)\n\n"):gmatch("[^\n]+") do
    names[#names + 1] = line:match("^  (%l+) ")
  end
  return names
end

-- Calls `each` with every row of options of a command.
local function each_option(command, each)
  local bit_of = bit.lshift(1, tonumber(C.command_id_of(C.command_find(command))))
  for i = 0, tonumber(C.option_count) - 1 do
    if bit.band(C.option_table[i].commands, bit_of) ~= 0 then
      each(C.option_table[i])
    end
  end
end

local function output(arguments)
  return (select(2, program.run(arguments)))
end

local function has(haystack, needle)
  return haystack:find(needle, 1, true) ~= nil
end

describe("tidemill --help", function()
  it("teaches: what it is, commands, common options, examples", function()
    local code, out, err = program.run { "--help" }
    assert.equal(0, code)
    assert.equal("", err)
    for _, part in ipairs { "rules in Lua on Redis Streams", "Usage:", "Commands:",
      "Common options:", "--redis URL",
      "Examples:", "tidemill send", "  dlq " } do
      assert.is_true(has(out, part), part)
    end
    assert.equal(out, output { "-h" })
    assert.equal(out, output { "help" })
  end)

  it("has a line for each command, what it does in one column", function()
    local column
    for line in output({ "--help" }):match("\nCommands:\n(.-)\n\n"):gmatch("[^\n]+") do
      local name, gap = line:match("^  (%l+)( +)%S")
      assert.is_true(name ~= nil and #gap >= 2, line)
      column = column or #name + #gap
      assert.equal(column, #name + #gap, line)
    end
  end)

  it("fits a terminal of 100 columns and has no colour in a file", function()
    local names = commands()
    names[#names + 1] = false
    for _, name in ipairs(names) do
      local _, out = program.run { name or "--help", name and "--help" or nil }
      assert.is_false(has(out, "\27"))
      for line in out:gmatch("[^\n]+") do
        assert.is_true(#line <= 100, line)
      end
    end
  end)

  it("is shown on standard error, with status 2, when no command is given", function()
    local code, out, err = program.run {}
    assert.equal(2, code)
    assert.equal("", out)
    assert.is_true(has(err, "Commands:"))
  end)

  it("is coloured on a terminal only, and not with NO_COLOR", function()
    local line = 'script -qec "$tidemill --help" /dev/null'
    local _, out = program.shell(line, { env = { TERM = "xterm" } })
    assert.is_true(has(out, "\27[1m"))
    _, out = program.shell(line, { env = { TERM = "xterm", NO_COLOR = "1" } })
    assert.is_true(has(out, "Commands:"))
    assert.is_false(has(out, "\27[1m"))
    _, out = program.shell(line, { env = { TERM = "dumb" } })
    assert.is_false(has(out, "\27[1m"))
  end)
end)

describe("tidemill COMMAND --help", function()
  it("shows every flag and setting of the command with its sentence, and no hidden one", function()
    for _, name in ipairs(commands()) do
      local code, out, err = program.run { name, "--help" }
      assert.equal(0, code, err)
      assert.equal(out, output { "help", name })
      local words = out:gsub("%s+", " ")
      each_option(name, function(option)
        local shown = text(option.flag) or text(option.path):gsub("%*", "NAME")
        local is_there = has(out, "\n  " .. shown)
        assert.equal(not option.is_hidden, is_there, name .. " " .. shown)
        if is_there then
          assert.is_true(has(words, text(option.help)), text(option.help))
        end
      end)
      assert.is_true(has(out, "Usage:\n  tidemill " .. name))
      assert.is_true(has(out, "Examples:"))
    end
  end)

  it("works whatever else is wrong", function()
    local folder = files.temp_folder()
    files.write_file(folder .. "/tidemill.lua", "nonsense")
    local code, out = program.run({ "send", "--help" },
      { folder = folder, env = { TIDEMILL_LOG_LEVEL = "loud" } })
    assert.equal(0, code)
    assert.is_true(has(out, "tidemill send STREAM [FILE]"))
  end)

  it("needs standard output to work", function()
    assert.equal(1, (program.shell('"$tidemill" --help > /dev/full')))
    assert.equal(1, (program.shell('"$tidemill" --version > /dev/full')))
  end)
end)

describe("words that make no sense", function()
  it("are refused with status 2 and the nearest name", function()
    for _, case in ipairs {
      { { "sned" }, "there is no command sned; did you mean send?" },
      { { "help", "sned" }, "there is no command sned; did you mean send?" },
      { { "frobnicate" }, "there is no command frobnicate; see tidemill --help" },
      { { "--redis", "x", "send" }, "--redis stands before the command" },
      { { "send" }, "send needs more: tidemill send STREAM [FILE]" },
      { { "send", "a", "b", "c" }, 'send does not know what to do with "c"' },
      { { "send", "s", "--strct" }, "send has no flag --strct; did you mean --strict?" },
      { { "dlq", "shwo" }, "dlq has no shwo; did you mean show?" },
      { { "state", "frob", "x" }, "state has no frob; it knows list, get, set and delete" },
      { { "send", "s\27[31m", "x", "\27[2J" }, "\\x1b[2J" },
    } do
      local code, out, err = program.run(case[1])
      assert.equal(2, code, err)
      assert.equal("", out)
      assert.is_true(has(err, case[2]), err)
      assert.is_true(has(err, "tidemill: "), err)
      assert.is_false(has(err, "\27"), err)
    end
  end)
end)

describe("the version", function()
  it("is one line", function()
    local code, out = program.run { "--version" }
    assert.equal(0, code)
    assert.matches("^tidemill %d+%.%d+%.%d+\n$", out)
    assert.equal(out, output { "send", "--version" })
  end)
end)

describe("the manual page", function()
  local page = files.read_file("src/cli/tidemill.1")

  it("is what scripts/manual makes of the tables", function()
    local code, out, err = process.run { "scripts/manual", env = { TIDEMILL_BIN = program.path() } }
    assert.equal(0, code, err)
    assert.is_true(page == out,
      "src/cli/tidemill.1 is not up to date: make, then scripts/manual --write")
  end)

  it("documents every option that is not hidden", function()
    local function roff(name)
      return (name:gsub("%-", "\\-"))
    end
    for _, command in ipairs(commands()) do
      assert.is_true(has(page, ".SS " .. command .. ":"), command)
      each_option(command, function(option)
        if option.is_hidden then
          return
        end
        if option.flag ~= nil then
          assert.is_true(has(page, '.B "' .. roff(text(option.flag))), text(option.flag))
        end
        if option.path ~= nil then
          assert.is_true(has(page, '.B "' .. roff(text(option.path):gsub("%*", "NAME")) .. " = "),
            text(option.path))
        end
        if option.environment ~= nil then
          assert.is_true(has(page, "\n.B " .. text(option.environment) .. "\n"),
            text(option.environment))
        end
      end)
    end
  end)

  it("is good roff", function()
    local code, out, err = process.run { "sh", "-c",
      "command -v groff >/dev/null || exit 0; groff -man -ww -z src/cli/tidemill.1" }
    assert.same({ 0, "", "" }, { code, out, err })
  end)
end)
