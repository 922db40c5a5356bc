/* commands.h - one function per subcommand, called by main.c with the words that follow the command's name.
 * Each returns the exit code: 0 done, 1 fault, 2 usage or configuration, 75 stopped after a checkpoint. */
#pragma once

int command_prepare(int argc, char **argv);
int command_train(int argc, char **argv);
int command_export(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_submit(int argc, char **argv);
int command_status(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_chain(int argc, char **argv);
int command_card(int argc, char **argv);
int command_doctor(int argc, char **argv);
