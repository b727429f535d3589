/* `sluice store export|import`: the store's file to lines of JSON and back, while no sluice runs on
 * it. */
#ifndef CONTROL_STORE_TOOL_H
#define CONTROL_STORE_TOOL_H

/* argv[0] is the command's name. Exit code: 2 is a command line that makes no sense. */
int store_tool_main(int argc, char **argv);

#endif
