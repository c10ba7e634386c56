-- tidemill-scm-1.rockspec: the test kit for authors of rules, by `luarocks make rockspec/tidemill-scm-1.rockspec`: specs of rules
-- run with `require "tidemill.testing"`. The engine is built by make.
--
-- Editors find the annotations of all that a rule may call in the folder `luarocks show --rock-dir tidemill`/build/library: made
-- of the sources, as make does it.
--
-- It needs LuaJIT (2.1), which luarocks cannot ask for: the modules load `ffi`, `bit` and `jit`, and "lua 5.1" is what LuaJIT
-- says to be. Under PUC Lua 5.1 it installs, and `require` fails at `ffi`.
rockspec_format = "3.0"
package = "tidemill"
version = "scm-1"

source = { url = "." }

description = {
  summary = "Test kit for rules of Tidemill, a rules engine on Redis Streams (needs LuaJIT)",
  detailed = "Runs rules over the engine's own kernel, without Redis and without the engine. Needs LuaJIT 2.1: it uses its FFI.",
  license = "MIT",
}

dependencies = { "lua == 5.1" }

test_dependencies = { "busted >= 2.0" }

build = {
  type = "command",
  build_command = "$(LUA) scripts/annotations.lua build/library",
  copy_directories = { "build/library" },
  install = { lua = {
    ["tidemill"] = "src/runtime/tidemill.lua",
    ["tidemill.call"] = "src/runtime/tidemill/call.lua",
    ["tidemill.cdef"] = "src/runtime/tidemill/cdef.lua",
    ["tidemill.context"] = "src/runtime/tidemill/context.lua",
    ["tidemill.decision_pack"] = "src/runtime/tidemill/decision_pack.lua",
    ["tidemill.decisions"] = "src/runtime/tidemill/decisions.lua",
    ["tidemill.duration"] = "src/runtime/tidemill/duration.lua",
    ["tidemill.clocks"] = "src/runtime/tidemill/clocks.lua",
    ["tidemill.entry"] = "src/runtime/tidemill/entry.lua",
    ["tidemill.event_time"] = "src/runtime/tidemill/event_time.lua",
    ["tidemill.firing"] = "src/runtime/tidemill/firing.lua",
    ["tidemill.tasks"] = "src/runtime/tidemill/tasks.lua",
    ["tidemill.timers"] = "src/runtime/tidemill/timers.lua",
    ["tidemill.window"] = "src/runtime/tidemill/window.lua",
    ["tidemill.windows"] = "src/runtime/tidemill/windows.lua",
    ["tidemill.each"] = "src/runtime/tidemill/each.lua",
    ["tidemill.environment"] = "src/runtime/tidemill/environment.lua",
    ["tidemill.glob"] = "src/runtime/tidemill/glob.lua",
    ["tidemill.health"] = "src/runtime/tidemill/health.lua",
    ["tidemill.json"] = "src/runtime/tidemill/json.lua",
    ["tidemill.kernel"] = "src/runtime/tidemill/kernel.lua",
    ["tidemill.limits"] = "src/runtime/tidemill/limits.lua",
    ["tidemill.memory"] = "src/runtime/tidemill/memory.lua",
    ["tidemill.migration"] = "src/runtime/tidemill/migration.lua",
    ["tidemill.nearest"] = "src/runtime/tidemill/nearest.lua",
    ["tidemill.outline"] = "src/runtime/tidemill/outline.lua",
    ["tidemill.pack"] = "src/runtime/tidemill/pack.lua",
    ["tidemill.place"] = "src/runtime/tidemill/place.lua",
    ["tidemill.rulebook"] = "src/runtime/tidemill/rulebook.lua",
    ["tidemill.schema"] = "src/runtime/tidemill/schema.lua",
    ["tidemill.schema_reader"] = "src/runtime/tidemill/schema_reader.lua",
    ["tidemill.shadow"] = "src/runtime/tidemill/shadow.lua",
    ["tidemill.shape"] = "src/runtime/tidemill/shape.lua",
    ["tidemill.step"] = "src/runtime/tidemill/step.lua",
    ["tidemill.testing"] = "src/runtime/tidemill/testing.lua",
    ["tidemill.testing_commands"] = "src/runtime/tidemill/testing_commands.lua",
    ["tidemill.testing_coverage"] = "src/runtime/tidemill/testing_coverage.lua",
    ["tidemill.testing_hook"] = "src/runtime/tidemill/testing_hook.lua",
    ["tidemill.testing_paths"] = "src/runtime/tidemill/testing_paths.lua",
    ["tidemill.testing_diff"] = "src/runtime/tidemill/testing_diff.lua",
    ["tidemill.testing_cases"] = "src/runtime/tidemill/testing_cases.lua",
    ["tidemill.testing_runner"] = "src/runtime/tidemill/testing_runner.lua",
    ["tidemill.testing_timers"] = "src/runtime/tidemill/testing_timers.lua",
    ["tidemill.testing_host"] = "src/runtime/tidemill/testing_host.lua",
    ["tidemill.unpack"] = "src/runtime/tidemill/unpack.lua",
    ["tidemill.upgrade"] = "src/runtime/tidemill/upgrade.lua",
    ["tidemill.value"] = "src/runtime/tidemill/value.lua",
  } },
}
